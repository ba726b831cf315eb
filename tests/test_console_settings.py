"""The settings page: who may change what, what is refused, and what is shown once."""

import secrets
from collections.abc import Callable
from decimal import Decimal

import pytest
from allauth.account.models import EmailAddress

from accounts import sealed
from accounts.models import AuditEvent, Tenant
from accounts.policy import Role
from billing.models import Account
from console import webhooks
from console.models import AlertSettings, Delivery
from console.settings_forms import AlertsForm, CreditsField, TTLsForm, written
from tests.cast import new_tenant
from tests.console_cast import Person, Visitor, forget_authentication, new_person, visitor
from tests.processes import RunningServer

POSTS = {
    "settings/name": {"name": "taken over"},
    "settings/ttls": {"default_ttl": "1 h", "max_ttl": "2 h"},
    "settings/alerts": {"storage_percent": "5", "emails": "mallory@example.com"},
    "settings/alerts/test": {},
    "settings/webhook": {"webhook_url": "https://mallory.example.com/"},
    "settings/webhook/secret": {},
    "settings/webhook/test": {},
}


def unchanged(tenant: Tenant) -> bool:
    fresh = Tenant.objects.get(pk=tenant.pk)
    account = Account.objects.get(tenant=tenant)
    return (fresh.name, fresh.deletion_at, account.default_ttl) == (tenant.name, None, None) and not (
        AlertSettings.objects.filter(tenant=tenant).exists() or Delivery.objects.filter(tenant=tenant).exists()
    )


@pytest.mark.parametrize("role", [Role.VIEWER, Role.BILLING, Role.DEVELOPER])
def test_who_may_not_change_the_settings_does_not(server: RunningServer, role: str) -> None:
    person = new_person(role)
    guest = visitor(server, person)
    for path, fields in POSTS.items():
        assert guest.post(person.path(path), fields).status_code == 403, path
    assert unchanged(person.tenant)
    page = guest.get(person.path("settings"))
    assert page.status_code == (200 if role == Role.DEVELOPER else 403)
    assert 'type="submit">Save' not in page.text


def test_an_admin_cannot_delete_the_tenant_or_keep_it(server: RunningServer) -> None:
    person = new_person(Role.ADMIN)
    admin = visitor(server, person)
    assert "settings/delete" not in admin.get(person.path("settings")).text
    assert admin.get(person.path("settings/delete")).status_code == 403
    assert admin.post(person.path("settings/delete"), {"name": person.tenant.name}).status_code == 403
    assert admin.post(person.path("settings/delete/cancel")).status_code == 403
    assert unchanged(person.tenant)


def test_owners_of_other_tenants_find_nothing(server: RunningServer) -> None:
    person, stranger = new_person(), visitor(server, new_person())
    for path, fields in {**POSTS, "settings/delete": {"name": person.tenant.name}}.items():
        assert stranger.post(person.path(path), fields).status_code == 404, path
    assert unchanged(person.tenant)


def test_rename_keeps_names_unique_and_escapes_them(server: RunningServer) -> None:
    person, other = new_person(Role.ADMIN), new_tenant()
    admin = visitor(server, person)
    refused = admin.post(person.path("settings/name"), {"name": other.name})
    assert refused.status_code == 422
    assert "Another tenant has it already; choose another one." in refused.text
    for wrong in ("", " ", "x" * 101, "a\nb"):
        assert admin.post(person.path("settings/name"), {"name": wrong}).status_code == 422, wrong
    name = f"<script>{secrets.token_hex(8)}</script>"
    page = admin.post(person.path("settings/name"), {"name": name}, follow_redirects=True)
    assert "The tenant is renamed." in page.text
    assert name not in page.text
    assert name.replace("<", "&lt;").replace(">", "&gt;") in page.text
    event = AuditEvent.objects.get(tenant_id=person.tenant.id, action="tenant.rename")
    assert (event.actor, event.target, event.details) == (person.user.email, name, {"former": person.tenant.name})


def test_ttls_are_saved_and_refused_with_the_fix(server: RunningServer) -> None:
    person = new_person()
    owner = visitor(server, person)
    assert owner.post(person.path("settings/ttls"), {"default_ttl": "12 h", "max_ttl": "30d"}).status_code == 302
    account = Account.objects.get(tenant=person.tenant)
    assert (account.default_ttl, account.max_ttl) == (43_200, 2_592_000)
    page = owner.get(person.path("settings")).text
    assert 'value="12 h"' in page
    assert 'value="30 d"' in page
    above = owner.post(person.path("settings/ttls"), {"default_ttl": "31 d", "max_ttl": "30 d"})
    assert above.status_code == 422
    assert "lower the one or raise the other" in above.text
    assert 'value="31 d"' in above.text  # as it was typed
    owner.post(person.path("settings/ttls"), {"default_ttl": "", "max_ttl": ""})
    account.refresh_from_db()
    assert (account.default_ttl, account.max_ttl) == (None, None)


@pytest.mark.parametrize("text", ["0 s", "366 d", "12", "h", "-1 h", "1.5 h", "１２ h", "9999999999 s", "12 weeks"])
def test_times_that_cannot_be_read_name_the_limit_and_the_fix(text: str) -> None:
    form = TTLsForm({"default_ttl": text})
    assert not form.is_valid()
    [error] = form.errors["default_ttl"]
    assert "such as 12 h" in error
    assert "at most 365 d" in error


@pytest.mark.parametrize(("seconds", "text"), [(None, ""), (1, "1 s"), (90, "90 s"), (3600, "1 h"), (604_800, "7 d")])
def test_times_are_written_as_they_are_read(seconds: int | None, text: str) -> None:
    assert written(seconds) == text
    form = TTLsForm({"default_ttl": text})
    assert form.is_valid()
    assert form.cleaned_data["default_ttl"] == seconds


def test_credits_are_exact() -> None:
    assert CreditsField().clean("1.10") == 110
    assert CreditsField().clean("92233720368.41") == 9_223_372_036_841
    assert CreditsField().clean("") is None


def test_alerts_are_saved_and_addresses_checked(server: RunningServer) -> None:
    person = new_person()
    owner = visitor(server, person)
    fields = {
        "storage_percent": "75",
        "low_balance": "12.50",
        "month_credits": "",
        "emails": "a@example.com\nb@example.com, a@example.com",
    }
    assert owner.post(person.path("settings/alerts"), fields).status_code == 302
    saved = AlertSettings.objects.get(tenant=person.tenant)
    assert (saved.storage_percent, saved.low_balance, saved.month_credits) == (75, 12_50, None)
    assert saved.emails == ["a@example.com", "b@example.com"]
    many = " ".join(f"a{number}@example.com" for number in range(11))
    for field, wrong in {
        "storage_percent": "101",
        "low_balance": "0.001",
        "month_credits": "-1",
        "emails": "no address",
    }.items():
        refused = owner.post(person.path("settings/alerts"), {**fields, field: wrong})
        assert refused.status_code == 422, field
    assert "give at most 10" in AlertsForm({**fields, "emails": many}).errors["emails"][0]
    assert "“&lt;b&gt;” is no" in owner.post(person.path("settings/alerts"), {**fields, "emails": "<b>"}).text


def test_strangers_get_mails_from_members_with_a_verified_address_only(server: RunningServer) -> None:
    person = new_person()
    colleague, newcomer = new_person(Role.VIEWER, person.tenant), new_person(Role.VIEWER, person.tenant)
    owner = visitor(server, person)
    EmailAddress.objects.filter(user__in=(person.user, newcomer.user)).update(verified=False)
    for email in ("stranger@example.com", person.user.email, newcomer.user.email, new_person().user.email):
        fields = {"storage_percent": "75", "emails": f"{colleague.user.email}\n{email}"}
        refused = owner.post(person.path("settings/alerts"), fields)
        assert (refused.status_code, "First verify your own e-mail address" in refused.text) == (422, True)
    assert unchanged(person.tenant)
    fields = {"storage_percent": "75", "emails": colleague.user.email.upper()}
    assert owner.post(person.path("settings/alerts"), fields).status_code == 302
    page = owner.post(person.path("settings/alerts/test"), follow_redirects=True)
    assert "First verify your own e-mail address" in page.text
    assert not Delivery.objects.filter(tenant=person.tenant).exists()

    AlertSettings.objects.filter(tenant=person.tenant).update(emails=["known@example.com"])
    fields = {"storage_percent": "70", "emails": "known@example.com"}
    assert owner.post(person.path("settings/alerts"), fields).status_code == 302, "what was there may stay"
    EmailAddress.objects.filter(user=person.user).update(verified=True)
    fields["emails"] = "stranger@example.com"
    assert owner.post(person.path("settings/alerts"), fields).status_code == 302


def test_tests_are_counted_by_member_over_all_their_tenants(server: RunningServer) -> None:
    person = new_person()
    other = new_person(user=person.user)
    Delivery.objects.bulk_create(
        Delivery(tenant=person.tenant, channel="email", address="a", event="test", content={"sent_by": sender})
        for sender in (person.user.email, "colleague@example.com")
        for _ in range(15)
    )
    owner = visitor(server, other)
    assert "the mail server took it" in owner.post(other.path("settings/alerts/test"), follow_redirects=True).text
    content = {"data": {"sent_by": person.user.email}}
    Delivery.objects.bulk_create(
        Delivery(tenant=person.tenant, channel="webhook", address="b", event="test", content=content) for _ in range(14)
    )
    page = owner.post(other.path("settings/alerts/test"), follow_redirects=True)
    assert "At most 30 tests are sent an hour" in page.text


def test_the_signing_secret_is_shown_once_and_rests_sealed(server: RunningServer) -> None:
    person = new_person()
    owner = visitor(server, person)
    shown = owner.post(person.path("settings/webhook"), {"webhook_url": "https://example.com/hook"})
    secret = _secret_of(person)
    assert shown.status_code == 200
    assert secret in shown.text
    assert "no-store" in shown.headers["cache-control"]
    assert secret not in owner.get(person.path("settings")).text
    changed = owner.post(person.path("settings/webhook"), {"webhook_url": "https://example.com/other"})
    assert (changed.status_code, _secret_of(person)) == (302, secret)
    rotated = owner.post(person.path("settings/webhook/secret"))
    new = _secret_of(person)
    assert new != secret
    assert new in rotated.text
    for text in (
        server.log_path.read_text(),
        str(list(AuditEvent.objects.filter(tenant_id=person.tenant.id).values())),
    ):
        assert secret not in text
        assert new not in text
    owner.post(person.path("settings/webhook"), {"webhook_url": ""})
    assert sealed.get(person.tenant.id, webhooks.SECRET_NAME) is None


def _secret_of(person: Person) -> str:
    secret = sealed.get(person.tenant.id, webhooks.SECRET_NAME)
    assert secret is not None
    return secret.decode()


@pytest.mark.parametrize(
    "act",
    [
        lambda owner, person: owner.post(person.path("settings/webhook"), {"webhook_url": "https://example.com/"}),
        lambda owner, person: owner.post(person.path("settings/webhook/secret")),
        lambda owner, person: owner.post(person.path("settings/delete"), {"name": person.tenant.name}),
    ],
)
def test_what_reveals_or_deletes_asks_for_the_password_again(
    server: RunningServer, act: Callable[[Visitor, Person], object]
) -> None:
    person = new_person()
    owner = visitor(server, person)
    forget_authentication(person.session)
    answer = act(owner, person)
    assert answer.status_code == 302  # type: ignore[attr-defined]
    assert "reauthenticate" in answer.headers["location"]  # type: ignore[attr-defined]
    assert unchanged(person.tenant)


def test_a_test_webhook_into_the_operators_network_is_refused_and_said_so(server: RunningServer) -> None:
    person = new_person()
    owner = visitor(server, person)
    assert "Give a URL that starts with https://" in owner.post(
        person.path("settings/webhook"), {"webhook_url": "http://169.254.169.254/latest"}
    ).text.replace("&#x27;", "'")
    owner.post(person.path("settings/webhook"), {"webhook_url": "https://169.254.169.254/latest"})
    page = owner.post(person.path("settings/webhook/test"), follow_redirects=True)
    assert "the host leads to a private or reserved address" in page.text
    [delivery] = Delivery.objects.filter(tenant=person.tenant)
    assert (delivery.state, delivery.event) == ("failed", "test")


def test_test_mails_go_out_and_are_counted(server: RunningServer) -> None:
    person = new_person()
    owner = visitor(server, person)
    page = owner.post(person.path("settings/alerts/test"), follow_redirects=True)
    assert f"Test to {person.user.email}: the mail server took it." in page.text
    Delivery.objects.bulk_create(
        Delivery(tenant=person.tenant, channel="email", address="a@example.com", event="test", content={})
        for _ in range(30)
    )
    page = owner.post(person.path("settings/alerts/test"), follow_redirects=True)
    assert "At most 30 tests are sent an hour" in page.text
    Delivery.objects.filter(tenant=person.tenant).delete()
    EmailAddress.objects.filter(user=person.user).update(verified=False)
    page = owner.post(person.path("settings/alerts/test"), follow_redirects=True)
    assert "There is nowhere to send it to" in page.text


def test_addresses_of_deliveries_show_as_text(server: RunningServer) -> None:
    person = new_person()
    Delivery.objects.create(
        tenant=person.tenant, channel="webhook", address="https://x/<script>", event="<b>", content={}, outcome="<i>"
    )
    page = visitor(server, person).get(person.path("settings")).text
    for markup in ("https://x/<script>", "<code><b>", "<i>"):
        assert markup not in page


def test_amounts_show_as_they_are_typed(server: RunningServer) -> None:
    person = new_person()
    AlertSettings.objects.create(tenant=person.tenant, low_balance=1_234_56)
    assert Decimal(1_234_56) / 100 == Decimal("1234.56")
    assert 'value="1234.56"' in visitor(server, person).get(person.path("settings")).text
