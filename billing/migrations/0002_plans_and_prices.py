from datetime import date

from django.db import migrations

EVER = date(2020, 1, 1)
MB = 10**6


def seed(apps, schema_editor):
    """The plans and prices to begin with; a later row of the same code replaces one from its day on."""
    Plan, Price = apps.get_model("billing", "Plan"), apps.get_model("billing", "Price")
    free_storage = {"free_storage": 100 * MB, "valid_from": EVER}
    Plan.objects.bulk_create(
        [
            Plan(
                code="free",
                prepaid=True,
                monthly_grant=100_00,
                requests_per_minute=60,
                storage_quota=100 * MB,
                api_key_storage_quota=100 * MB,
                **free_storage,
            ),
            Plan(code="pro", prepaid=False, monthly_grant=0, requests_per_minute=120, **free_storage),
            Plan(code="self-hosted", prepaid=False, monthly_grant=0, **free_storage),
        ]
    )
    Price.objects.bulk_create(
        [
            Price(code="cache_hit", valid_from=EVER, amount="1"),
            Price(code="credit", valid_from=EVER, amount="0.001"),
            Price(code="storage", valid_from=EVER, amount="0.10"),
        ]
    )


def open_accounts(apps, schema_editor):
    """Tenants from before there were plans had no limits: they keep having none."""
    Account, Tenant = apps.get_model("billing", "Account"), apps.get_model("accounts", "Tenant")
    Account.objects.bulk_create([Account(tenant=tenant, plan="self-hosted") for tenant in Tenant.objects.all()])


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_billing")]

    operations = [
        migrations.RunPython(seed, migrations.RunPython.noop),
        migrations.RunPython(open_accounts, migrations.RunPython.noop),
        # Rows that every batch updates: room on their page for the next version, so that no index has to follow.
        *[
            migrations.RunSQL(f"alter table {table} set (fillfactor = 50)", f"alter table {table} reset (fillfactor)")
            for table in ("account", "rate_window", "credit_window", "storage_meter")
        ],
        # Append-only for the service's own role too.
        migrations.RunSQL(
            "revoke update, delete, truncate on credit_ledger, invoice from current_user",
            "grant update, delete, truncate on credit_ledger, invoice to current_user",
        ),
    ]
