from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0003_tenant_ttls")]

    operations = [
        migrations.AddField(
            model_name="account",
            name="unverified",
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
