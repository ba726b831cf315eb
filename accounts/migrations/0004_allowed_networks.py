import django.contrib.postgres.fields
from django.db import migrations

import accounts.networks


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_people")]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="allowed_networks",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=accounts.networks.NetworkField(), null=True, size=None
            ),
        ),
    ]
