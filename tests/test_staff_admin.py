"""The operators' admin: who gets in, what they may do, and what is nowhere to be seen."""

import re
import secrets
from datetime import timedelta

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib import admin
from django.core.management import call_command

from accounts.models import AuditEvent, Tenant, User
from billing.models import Account, LedgerEntry, Plan, Price
from billing.plans import today
from console.staff_site import StaffAdmin
from tests.console_cast import PASSWORD, Visitor, new_session, new_user
from tests.processes import RunningServer
from tests.store_cast import new_tenant


def new_operator(*, second_factor: bool = True) -> User:
    user = new_user()
    User.objects.filter(pk=user.pk).update(is_staff=True, is_superuser=True)
    if second_factor:
        TOTP.activate(user, generate_totp_secret())
    user.refresh_from_db()
    return user


@pytest.fixture
def staff(server: RunningServer) -> "Operator":
    return Operator(server, new_session(new_operator()))


class Operator(Visitor):
    """Posts with the token of the form that was looked at; Django's admin has it in the form alone."""

    def submit(self, path: str, **fields: str) -> str:
        """The page that it leads to."""
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.get(path).text)
        assert found is not None
        self._token = found.group(1)
        return self.post(path, fields, follow_redirects=True).text


def tenant_path(tenant: Tenant) -> str:
    return f"/staff/accounts/tenant/{tenant.id}/change/"


def actions(action: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action=action).order_by("-at"))


def test_nobody_signs_in_here_but_on_the_consoles_page(server: RunningServer) -> None:
    visitor = Visitor(server)
    for path in ("/staff/", "/staff/login/", "/staff/accounts/user/"):
        answer = visitor.get(path, follow_redirects=True)
        assert str(answer.url.path) == "/console/account/login/", path
    assert visitor.post("/staff/login/", {"username": "a", "password": "b"}).status_code == 302


def test_members_are_turned_away(server: RunningServer) -> None:
    visitor = Visitor(server, new_session(new_user()))
    assert visitor.get("/staff/", follow_redirects=True).status_code == 403
    assert visitor.get("/staff/accounts/user/", follow_redirects=True).status_code == 403


def test_operators_need_a_second_factor(server: RunningServer) -> None:
    user = new_operator(second_factor=False)
    visitor = Visitor(server, new_session(user))
    answer = visitor.get("/staff/accounts/user/", follow_redirects=True)
    assert "/2fa/" in answer.url.path
    assert "Operators need a second factor" in answer.text
    TOTP.activate(user, generate_totp_secret())
    assert Visitor(server, new_session(user)).get("/staff/accounts/user/").status_code == 200


def test_only_what_was_written_for_operators_is_registered() -> None:
    registered = {model.__name__ for model in admin.site._registry}
    assert registered == {"Tenant", "User", "AuditRecord", "Grant", "PlanTerms", "PriceTerms"}
    assert all(isinstance(one, StaffAdmin) for one in admin.site._registry.values())
    assert Authenticator not in admin.site._registry  # whose admin would show secrets


def test_each_page_opens_and_none_shows_a_secret(staff: Operator) -> None:
    user, tenant = new_user(), new_tenant("free")
    grant = LedgerEntry.objects.filter(tenant_id=tenant.id).first()
    event = AuditEvent.objects.filter(tenant_id=tenant.id).first()
    assert grant is not None
    assert event is not None
    paths = ["/staff/"]
    paths += [f"/staff/accounts/{name}/" for name in ("tenant", "user")]
    paths += [f"/staff/console/{name}/" for name in ("auditrecord", "grant", "planterms", "priceterms")]
    paths += [f"/staff/console/{name}/add/" for name in ("grant", "planterms", "priceterms")]
    paths += [tenant_path(tenant), f"/staff/accounts/user/{user.id}/change/"]
    paths += [f"/staff/console/grant/{grant.id}/change/", f"/staff/console/auditrecord/{event.id}/change/"]
    paths += [
        "/staff/console/planterms/free%202020-01-01/change/",
        "/staff/console/priceterms/credit%202020-01-01/change/",
    ]
    paths += [
        f"/staff/accounts/tenant/?q={tenant.name}",
        "/staff/console/grant/?kind=monthly",
        "/staff/accounts/user/?q=a",
    ]
    for path in paths:
        answer = staff.get(path)
        assert answer.status_code == 200, path
        assert user.password not in answer.text
        assert "pbkdf2" not in answer.text, path
        assert "style=" not in answer.text, path  # which the policy would forbid
        assert "'unsafe-inline'" not in answer.headers["content-security-policy"]


def test_plan_and_limits_change_through_billing(staff: Operator) -> None:
    tenant = new_tenant("free")
    fields = {"plan": "pro", "requests_per_minute": "7", "storage_quota": "", "api_key_storage_quota": "1000"}
    assert "was changed successfully" in staff.submit(tenant_path(tenant), **fields)
    account = Account.objects.get(tenant=tenant)
    assert (account.plan, account.requests_per_minute, account.api_key_storage_quota) == ("pro", 7, 1000)
    assert account.storage_quota is None
    events = {event.action: event for event in AuditEvent.objects.filter(tenant_id=tenant.id)}
    assert events["tenant.change_plan"].details == {"former": "free"}
    assert events["tenant.set_limits"].details == {"requests_per_minute": 7, "api_key_storage_quota": 1000}
    assert events["tenant.set_limits"].actor.startswith("operator user-")
    assert "Select a valid choice" in staff.submit(tenant_path(tenant), **{**fields, "plan": "none"})


def test_tenants_are_neither_added_nor_deleted_here(staff: Operator) -> None:
    tenant = new_tenant()
    assert staff.get("/staff/accounts/tenant/add/").status_code == 403
    assert staff.get(f"/staff/accounts/tenant/{tenant.id}/delete/").status_code == 403


def test_credits_are_granted_once_for_a_key(staff: Operator) -> None:
    tenant, key = new_tenant("free"), secrets.token_hex(8)
    fields = {
        "tenant": str(tenant.id),
        "kind": "purchase",
        "credits": "12.50",
        "idempotency_key": key,
        "note": "invoice 7",
    }
    assert "was added successfully" in staff.submit("/staff/console/grant/add/", **fields)
    assert "was booked before" in staff.submit("/staff/console/grant/add/", **fields)
    assert "it booked a purchase of 12.50 credits" in staff.submit(
        "/staff/console/grant/add/", **{**fields, "credits": "1"}
    )
    assert Account.objects.get(tenant=tenant).balance == 100_00 + 12_50
    [row] = LedgerEntry.objects.filter(tenant_id=tenant.id, idempotency_key=key)
    assert (row.units, row.kind, row.note) == (12_50, "purchase", "invoice 7")
    assert row.actor.startswith("operator user-")
    for wrong in ({"credits": "0"}, {"credits": "-1"}, {"credits": "0.001"}, {"kind": "monthly"}, {"kind": "invoice"}):
        assert "errorlist" in staff.submit("/staff/console/grant/add/", **{**fields, "idempotency_key": "x", **wrong})
    for taken in ("invoice 2099-11", "monthly 2099-11"):
        told = staff.submit("/staff/console/grant/add/", **{**fields, "idempotency_key": taken})
        assert "that is how the service names its own bookings" in told
        assert not LedgerEntry.objects.filter(tenant_id=tenant.id, idempotency_key=taken).exists()
    assert staff.get(f"/staff/console/grant/{row.id}/delete/").status_code == 403
    assert staff.post(f"/staff/console/grant/{row.id}/change/", {"note": "rewritten"}).status_code == 403


def test_plans_and_prices_are_added_for_a_coming_day_alone(staff: Operator) -> None:
    day = today() + timedelta(days=3650 + secrets.randbelow(3650))
    fields = {"code": "storage", "amount": "0.08"}
    for past in (today(), today() - timedelta(days=1)):
        assert "Give a day after today" in staff.submit(
            "/staff/console/priceterms/add/", **fields, valid_from=past.isoformat()
        )
    assert "was added successfully" in staff.submit(
        "/staff/console/priceterms/add/", **fields, valid_from=day.isoformat()
    )
    assert "There is a row of this day already" in staff.submit(
        "/staff/console/priceterms/add/", **fields, valid_from=day.isoformat()
    )
    assert str(Price.objects.get(code="storage", valid_from=day).amount) == "0.0800000000"
    assert actions("price.add")[0].target == f"storage 0.08 from {day}"
    place = f"/staff/console/priceterms/storage%20{day}"
    assert staff.post(f"{place}/change/", fields).status_code == 403
    assert "was deleted successfully" in staff.submit(f"{place}/delete/", post="yes")
    assert not Price.objects.filter(code="storage", valid_from=day).exists()
    assert staff.get("/staff/console/priceterms/storage%202020-01-01/delete/").status_code == 403

    plan = {
        "code": "team",
        "valid_from": day.isoformat(),
        "monthly_grant": "1000",
        "free_storage": "5",
        "storage_quota": "",
    }
    assert "was added successfully" in staff.submit("/staff/console/planterms/add/", **plan)
    row = Plan.objects.get(code="team")
    assert (row.prepaid, row.monthly_grant, row.storage_quota) == (False, 1000, None)
    row.delete()


def test_a_deactivated_user_is_out_at_once_and_operators_are_left_alone(server: RunningServer, staff: Operator) -> None:
    user, other = new_user(), new_operator()
    visitor = Visitor(server, new_session(user))
    assert visitor.get("/console/you").status_code == 200
    assert "was changed successfully" in staff.submit(f"/staff/accounts/user/{user.id}/change/")
    assert visitor.get("/console/you").status_code == 302
    assert actions("user.deactivate")[0].target == user.email
    staff.submit(f"/staff/accounts/user/{user.id}/change/", is_active="on", is_staff="on", password="x" * 20)
    user.refresh_from_db()
    assert (user.is_active, user.is_staff, user.check_password(PASSWORD)) == (True, False, True)
    assert staff.post(f"/staff/accounts/user/{other.id}/change/", {}).status_code == 403
    assert staff.get(f"/staff/accounts/user/{user.id}/delete/").status_code == 403


def test_the_audit_log_cannot_be_changed_here(staff: Operator) -> None:
    event = AuditEvent.objects.filter(tenant_id=new_tenant().id).first()
    assert event is not None
    place = f"/staff/console/auditrecord/{event.id}"
    assert staff.post(f"{place}/change/", {"actor": "somebody"}).status_code == 403
    assert staff.get(f"{place}/delete/").status_code == 403
    assert staff.get("/staff/console/auditrecord/add/").status_code == 403


def test_createsuperuser_makes_an_operator_by_email(monkeypatch: pytest.MonkeyPatch) -> None:
    email = f"Op-{secrets.token_hex(4)}@Example.com"
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    call_command("createsuperuser", "--noinput", "--email", email, verbosity=0)
    user = User.objects.get(email=email.lower())
    assert (user.is_staff, user.is_superuser, user.check_password(PASSWORD)) == (True, True, True)
