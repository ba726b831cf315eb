from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("entries", "0005_entry_savings")]

    operations = [
        migrations.CreateModel(
            name="UnopenableEntry",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "tenant_id", "version", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("tenant_id", models.BigIntegerField()),
                ("version", models.BigIntegerField()),
                ("at", models.DateTimeField()),
            ],
            options={"db_table": "unopenable_entry"},
        ),
    ]
