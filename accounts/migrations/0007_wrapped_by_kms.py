from django.db import migrations, models


class Migration(migrations.Migration):
    """What KMS wraps is longer than 60 bytes."""

    old_code = "the column is a bytea as before: only Django's own idea of it changes"
    dependencies = [("accounts", "0006_audit_actor")]

    operations = [
        migrations.AlterField(model_name="datakey", name="wrapped", field=models.BinaryField()),
    ]
