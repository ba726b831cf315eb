from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0002_plans_and_prices")]

    operations = [
        migrations.AddField(model_name="account", name="default_ttl", field=models.IntegerField(null=True)),
        migrations.AddField(model_name="account", name="max_ttl", field=models.IntegerField(null=True)),
    ]
