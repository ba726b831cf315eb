import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_allowed_networks")]

    operations = [
        migrations.AddField(
            model_name="tenant",
            name="deletion_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.CreateModel(
            name="TenantSecret",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "tenant_id", "name", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=40)),
                ("sealed", models.BinaryField()),
                ("master_key_id", models.CharField(max_length=16)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="secrets",
                        to="accounts.tenant",
                    ),
                ),
            ],
            options={"db_table": "tenant_secret"},
        ),
    ]
