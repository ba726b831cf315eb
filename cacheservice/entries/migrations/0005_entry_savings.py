from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("entries", "0004_leases")]

    operations = [
        migrations.AddField(
            "entrystats", "saved", models.DecimalField(max_digits=38, decimal_places=9, db_default=0)
        ),
        migrations.RunSQL(
            "update entry_stats s set saved = s.hits * e.cost from entry e "
            "where e.tenant_id = s.tenant_id and e.version = s.version and e.cost > 0",
            migrations.RunSQL.noop,
        ),
        migrations.AddIndex(
            "entrystats",
            models.Index(fields=["tenant_id", "-hits", "version"], name="entry_stats_hits", condition=Q(hits__gt=0)),
        ),
        migrations.AddIndex(
            "entrystats",
            models.Index(fields=["tenant_id", "-saved", "version"], name="entry_stats_saved", condition=Q(saved__gt=0)),
        ),
    ]
