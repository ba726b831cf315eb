"""Alerts: opened once, told once, closed when the condition is gone; and the messages that tell them."""

import smtplib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.core import mail
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from accounts import tokens
from accounts.models import APIKey, Tenant
from accounts.policy import Role
from billing import limits
from billing.credits import grant
from billing.models import LedgerEntry
from cacheservice.entries.store import Store
from cacheservice.errors import InternalError
from console import alert_delivery, alert_evaluation, tasks
from console.alerts import open_alerts
from console.models import Alert, AlertSettings, Delivery
from tests.console_cast import new_person, new_user
from tests.store_cast import change_ledger, entry, new_caller, new_tenant, query, run_with_store


@pytest.fixture(autouse=True)
def nothing_else_due() -> Iterator[None]:
    """Messages of other tests are none of ours."""
    Delivery.objects.update(next_attempt_at=None)
    yield
    Delivery.objects.update(next_attempt_at=None)


def store(tenant: Tenant, size: int) -> APIKey:
    caller = new_caller(tenant)

    async def write(store: Store) -> None:
        await store.put(caller, "key", entry(b"x" * size))

    run_with_store(write)
    return APIKey.objects.get(id=caller.api_key_id)


def kinds(tenant: Tenant) -> list[str]:
    return sorted(alert.kind for alert in open_alerts(tenant.id))


def sent_to(tenant: Tenant) -> list[str]:
    return sorted(message.to[0] for message in mail.outbox if tenant.name in message.subject)


def test_storage_of_a_tenant_opens_once_and_closes_with_hysteresis() -> None:
    tenant = new_person(Role.OWNER, new_tenant()).tenant
    store(tenant, 850)
    limits.set_tenant_limits(tenant, storage_quota=1000, actor="tests")
    alert_evaluation.evaluate()
    [alert] = open_alerts(tenant.id)
    assert (alert.kind, alert.level) == ("storage", "warn")
    assert alert.title == "This tenant uses 85 % of its storage quota"
    assert alert.url == f"/console/t/{tokens.encode_id(tenant.id)}/entries"
    limits.set_tenant_limits(tenant, storage_quota=1110, actor="tests")  # 76.6 %: below 80, above 76
    alert_evaluation.evaluate()
    [kept] = open_alerts(tenant.id)
    assert kept.id == alert.id
    assert "850 B of 1.1 KB" in kept.text
    limits.set_tenant_limits(tenant, storage_quota=1200, actor="tests")  # 70.8 %
    alert_evaluation.evaluate()
    assert open_alerts(tenant.id) == []
    assert Delivery.objects.filter(tenant=tenant).count() == 1  # told once, by e-mail to the owner


def test_a_warning_that_becomes_a_problem_is_told_once_more() -> None:
    tenant = new_person(Role.OWNER, new_tenant()).tenant
    store(tenant, 1000)
    for quota in (1100, 1000, 1100, 1000, 1001):
        limits.set_tenant_limits(tenant, storage_quota=quota, actor="tests")
        alert_evaluation.evaluate()
    [alert] = open_alerts(tenant.id)
    assert alert.level == "bad"
    assert Delivery.objects.filter(tenant=tenant, event="alert.opened").count() == 2


def test_storage_of_an_api_key_names_it() -> None:
    tenant = new_tenant()
    api_key = store(tenant, 900)
    APIKey.objects.filter(id=api_key.id).update(name="<b>bold</b>")
    limits.set_api_key_limits(api_key, storage_quota=1000, actor="tests")
    alert_evaluation.evaluate()
    [alert] = open_alerts(tenant.id)
    assert (alert.kind, alert.subject) == ("api_key_storage", tokens.encode_id(api_key.id))
    assert alert.title == "API key “<b>bold</b>” uses 90 % of its storage quota"
    APIKey.objects.filter(id=api_key.id).update(revoked_at=timezone.now())
    alert_evaluation.evaluate()
    assert open_alerts(tenant.id) == []


def test_low_balance_is_told_to_those_who_had_credits() -> None:
    never, had = new_tenant("free"), new_tenant("free")
    for tenant in (never, had):
        query("update account set balance = 900 where tenant_id = %s", [tenant.id])
    change_ledger("delete from credit_ledger where tenant_id = %s", [never.id])
    alert_evaluation.evaluate()
    assert kinds(never) == []
    [alert] = open_alerts(had.id)
    assert (alert.kind, alert.level, alert.title) == ("low_balance", "warn", "9.00 credits are left")
    query("update account set balance = 0 where tenant_id = %s", [had.id])
    alert_evaluation.evaluate()
    assert [alert.level for alert in open_alerts(had.id)] == ["bad"]
    grant(had.id, LedgerEntry.Kind.PURCHASE, 50_00, idempotency_key="more", actor="tests")
    alert_evaluation.evaluate()
    assert kinds(had) == []


def test_low_balance_follows_the_threshold_and_leaves_postpaid_tenants() -> None:
    off, high, postpaid = new_tenant("free"), new_tenant("free"), new_tenant("pro")
    AlertSettings.objects.create(tenant=off, low_balance=None)
    AlertSettings.objects.create(tenant=high, low_balance=100_00)
    query("update account set balance = 1 where tenant_id = any(%s)", [[off.id, postpaid.id]])
    alert_evaluation.evaluate()
    assert [kinds(tenant) for tenant in (off, high, postpaid)] == [[], ["low_balance"], []]


def test_the_months_credits_count_what_is_rolled_up_and_what_is_not() -> None:
    tenant = new_tenant()
    AlertSettings.objects.create(tenant=tenant, month_credits=3)
    caller = new_caller(tenant)

    async def hit(store: Store) -> None:
        await store.put(caller, "key", entry(b"x"))
        for _ in range(2):
            await store.get(caller, "key")

    run_with_store(hit)
    alert_evaluation.evaluate()
    assert kinds(tenant) == []
    call_command("rollup", verbosity=0)

    async def hit_once_more(store: Store) -> None:
        await store.get(caller, "key")

    run_with_store(hit_once_more)
    alert_evaluation.evaluate()
    assert [alert.title for alert in open_alerts(tenant.id)] == ["0.03 credits were used this month"]


def test_an_entry_that_does_not_open_is_named_until_it_is_gone() -> None:
    tenant = new_tenant()
    caller = new_caller(tenant)

    async def write_and_spoil(store: Store) -> None:
        await store.put(caller, "<i>key</i>", entry(b"x" * 100))
        query("update entry set value = value || 'x' where tenant_id = %s", [tenant.id])
        for _ in range(2):
            with pytest.raises(InternalError):
                await store.get(caller, "<i>key</i>")

    run_with_store(write_and_spoil)
    alert_evaluation.evaluate()
    [alert] = open_alerts(tenant.id)
    assert (alert.kind, alert.level) == ("entry", "bad")
    assert "Its key is <i>key</i>." in alert.text

    async def write_again(store: Store) -> None:
        await store.put(caller, "<i>key</i>", entry(b"y"))

    run_with_store(write_again)
    alert_evaluation.evaluate()
    assert kinds(tenant) == []
    assert query("select count(*) from unopenable_entry where tenant_id = %s", [tenant.id]) == [(0,)]


def test_deleted_tenants_are_told_nothing() -> None:
    tenant = new_tenant("free")
    query("update account set balance = 0 where tenant_id = %s", [tenant.id])
    query("delete from data_key where tenant_id = %s", [tenant.id])
    alert_evaluation.evaluate()
    assert kinds(tenant) == []


def alerting(emails: list[str] | None = None) -> Tenant:
    """A tenant with an owner, and an alert that is to be told."""
    tenant = new_person(Role.OWNER, new_tenant("free"), new_user()).tenant
    query("update account set balance = 0 where tenant_id = %s", [tenant.id])
    if emails is not None:
        AlertSettings.objects.create(tenant=tenant, emails=emails)
    alert_evaluation.evaluate()
    Delivery.objects.exclude(tenant=tenant).update(next_attempt_at=None)
    return tenant


def test_mail_goes_to_each_address_apart_and_once() -> None:
    tenant = alerting(["one@example.com", "two@example.com"])
    assert alert_delivery.deliver() == 2
    assert alert_delivery.deliver() == 0
    alert_evaluation.evaluate()
    alert_delivery.deliver()
    assert sent_to(tenant) == ["one@example.com", "two@example.com"]
    [message, _] = mail.outbox
    assert message.subject == f"[cacheservice] {tenant.name}: No credits are left"
    assert f"http://localhost:8000/console/t/{tokens.encode_id(tenant.id)}/billing" in message.body


def test_without_addresses_verified_owners_are_told() -> None:
    tenant = new_person(Role.OWNER, new_tenant("free")).tenant
    unverified = new_person(Role.OWNER, tenant).user
    query("update account_emailaddress set verified = false where user_id = %s", [unverified.id])
    new_person(Role.ADMIN, tenant)
    query("update account set balance = 0 where tenant_id = %s", [tenant.id])
    alert_evaluation.evaluate()
    addresses = Delivery.objects.filter(tenant=tenant).values_list("address", flat=True)
    assert unverified.email not in addresses
    assert len(addresses) == 1


def test_mail_that_fails_is_tried_for_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = alerting(["one@example.com"])

    def fail(*_: Any, **__: Any) -> int:
        raise smtplib.SMTPServerDisconnected("gone")

    monkeypatch.setattr("console.alert_delivery.send_mail", fail)
    start = now = timezone.now()
    waits = []
    while (delivery := Delivery.objects.get(tenant=tenant)).next_attempt_at is not None:
        Delivery.objects.filter(id=delivery.id).update(next_attempt_at=start)
        before = timezone.now()
        assert alert_delivery.deliver() == 1
        delivery.refresh_from_db()
        if delivery.next_attempt_at is not None:
            waits.append(round((delivery.next_attempt_at - before) / timedelta(minutes=1)))
            now += timedelta(minutes=waits[-1])
    assert waits == list(alert_delivery.RETRY_MINUTES)
    assert timedelta(hours=23) < now - start < timedelta(hours=25)
    assert (delivery.state, delivery.outcome) == ("failed", "the mail server did not take it")


def test_one_message_is_attempted_by_one_process_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = alerting(["one@example.com"])
    inner: list[int] = []

    def attempt(_send: Any) -> tuple[bool, str]:
        inner.append(len(alert_delivery._claim()))
        connection.close()  # this thread's
        return True, "sent"

    monkeypatch.setattr("console.alert_delivery._attempt", attempt)
    alert_delivery.deliver()
    assert inner == [0]  # while it was being sent, nobody else could claim it
    assert Delivery.objects.get(tenant=tenant).state == "delivered"


def test_command_evaluates_and_sends(capsys: pytest.CaptureFixture[str]) -> None:
    tenant = new_person(Role.OWNER, new_tenant("free")).tenant
    query("update account set balance = 0 where tenant_id = %s", [tenant.id])
    call_command("send_alerts")
    assert "messages attempted" in capsys.readouterr().out
    assert len(sent_to(tenant)) == 1
    assert Alert.objects.get(tenant=tenant).closed_at is None


def test_old_messages_and_closed_alerts_are_dropped() -> None:
    tenant = alerting(["one@example.com"])
    Delivery.objects.filter(tenant=tenant).update(created_at=timezone.now() - timedelta(days=31))
    Alert.objects.filter(tenant=tenant).update(opened_at=timezone.now() - timedelta(days=91))
    tasks.drop_old()
    assert not Delivery.objects.filter(tenant=tenant).exists()
    assert len(open_alerts(tenant.id)) == 1  # it stands
    Alert.objects.filter(tenant=tenant).update(closed_at=timezone.now() - timedelta(days=91))
    tasks.drop_old()
    assert not Alert.objects.filter(tenant=tenant).exists()


def test_the_workers_task_evaluates_and_sends_and_may_run_twice() -> None:
    tenant = new_person(Role.OWNER, new_tenant("free")).tenant
    query("update account set balance = 0 where tenant_id = %s", [tenant.id])
    tasks.alerts()
    tasks.alerts()
    assert len(sent_to(tenant)) == 1
    assert {"console.tasks.alerts", "console.tasks.delete_due_tenants"} <= {
        line["task"] for line in settings.CELERY_BEAT_SCHEDULE.values()
    }
