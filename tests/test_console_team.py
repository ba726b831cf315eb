"""Members and invitations: who may change whom, that a tenant never loses its last owner, and what a link opens."""

import re
import secrets
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.core.signing import TimestampSigner
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from accounts import invitations, team, tokens
from accounts.models import AuditEvent, Invitation, Membership
from accounts.policy import PERMISSIONS, Permission, Role
from billing.models import Account
from console import tenancy
from tests.cast import new_caller
from tests.client import Client
from tests.console_cast import (
    PASSWORD,
    Person,
    Visitor,
    forget_authentication,
    new_person,
    new_session,
    new_user,
    visitor,
)
from tests.processes import ROOT, RunningServer


def member(person: Person) -> Membership:
    return Membership.objects.select_related("user").get(tenant=person.tenant, user=person.user)


def member_path(of: Person, what: str = "") -> str:
    return of.path(f"team/members/{tokens.encode_id(member(of).id)}{what}")


def actions(person: Person) -> list[str]:
    found = AuditEvent.objects.filter(tenant_id=person.tenant.id, actor=person.user.email).order_by("at")
    return list(found.values_list("action", flat=True))


def fresh_address() -> str:
    return f"guest-{secrets.token_hex(6)}@example.com"


def link(invitation: Invitation) -> str:
    return reverse("console:invitation", kwargs={"signed": invitations.signed(invitation)})


# Members.


def test_members_are_listed_with_what_is_known_of_them(server: RunningServer) -> None:
    owner = new_person()
    viewer = new_person(Role.VIEWER, owner.tenant)
    Authenticator.objects.create(user=viewer.user, type=Authenticator.Type.TOTP, data={})
    Authenticator.objects.create(user=owner.user, type=Authenticator.Type.RECOVERY_CODES, data={})
    for_owner = visitor(server, owner).get(owner.path("team")).text
    assert for_owner.count(">On<") == 1  # recovery codes alone are no second factor
    assert for_owner.count(">Off<") == 1
    for_viewer = visitor(server, viewer).get(viewer.path("team")).text
    assert owner.user.email in for_viewer
    assert "Two-factor" not in for_viewer
    assert "Send the invitation" not in for_viewer


def test_members_names_are_text(server: RunningServer) -> None:
    owner = new_person()
    other = new_person(Role.VIEWER, owner.tenant)
    other.user.name = "<script>alert(1)</script>"
    other.user.save()
    for path in (owner.path("team"), member_path(other)):
        page = visitor(server, owner).get(path).text
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert" not in page


def test_role_is_changed_and_holds_at_once(server: RunningServer) -> None:
    owner = new_person()
    other = new_person(Role.VIEWER, owner.tenant)
    theirs = visitor(server, other)
    assert theirs.get(other.path("audit")).status_code == 403
    answer = visitor(server, owner).post(member_path(other, "/role"), {"role": Role.ADMIN})
    assert answer.headers["location"] == owner.path("team")
    assert theirs.get(other.path("audit")).status_code == 200
    [event] = AuditEvent.objects.filter(tenant_id=owner.tenant.id, action="member.change_role")
    assert (event.actor, event.target) == (owner.user.email, other.user.email)
    assert event.details == {"role": "admin", "former": "viewer"}
    assert event.address == "127.0.0.1"


def test_removed_member_has_no_access_at_once(server: RunningServer) -> None:
    owner = new_person()
    other = new_person(Role.ADMIN, owner.tenant)
    theirs = visitor(server, other)
    assert theirs.get(other.path("team")).status_code == 200
    assert visitor(server, owner).post(member_path(other, "/remove")).status_code == 302
    assert theirs.get(other.path("team")).status_code == 404
    assert theirs.post(other.path("team/invitations"), {"email": fresh_address(), "role": "viewer"}).status_code == 404
    assert actions(owner) == ["member.remove"]


@pytest.mark.parametrize("path", ["/role", "/remove"])
def test_admin_cannot_touch_owners(path: str, server: RunningServer) -> None:
    owner = new_person()
    admin = new_person(Role.ADMIN, owner.tenant)
    new_person(Role.OWNER, owner.tenant)
    visitor(server, admin).post(member_path(owner, path), {"role": Role.VIEWER})
    assert member(owner).role == Role.OWNER
    assert actions(admin) == []


def test_admin_makes_no_owner_of_themselves_or_another(server: RunningServer) -> None:
    owner = new_person()
    admin = new_person(Role.ADMIN, owner.tenant)
    developer = new_person(Role.DEVELOPER, owner.tenant)
    for person in (admin, developer):
        answer = visitor(server, admin).post(member_path(person, "/role"), {"role": Role.OWNER})
        assert answer.status_code == 422
        assert member(person).role == person.role
        assert visitor(server, admin).post(member_path(person, "/transfer")).status_code == 403
        with pytest.raises(team.Refused, match="Only an owner"):
            team.change_role(member(admin), member(person).id, Role.OWNER)


def test_ownership_is_handed_over_for_the_typed_address(server: RunningServer) -> None:
    owner = new_person()
    other = new_person(Role.DEVELOPER, owner.tenant)
    wrong = visitor(server, owner).post(member_path(other, "/transfer"), {"confirm": "no"})
    assert wrong.status_code == 422
    assert f"type {other.user.email} exactly" in wrong.text
    assert member(other).role == Role.DEVELOPER
    right = visitor(server, owner).post(member_path(other, "/transfer"), {"confirm": other.user.email})
    assert right.status_code == 302
    assert (member(owner).role, member(other).role) == (Role.ADMIN, Role.OWNER)
    assert actions(owner) == ["tenant.transfer_ownership"]


def test_tenant_gets_its_credits_once_an_owner_is_verified(server: RunningServer) -> None:
    """The first one never opened the mail; the new one has."""
    first = new_user()
    EmailAddress.objects.filter(user=first).update(verified=False)
    tenant, _ = tenancy.found(first)
    owner = Person(first, tenant, Role.OWNER, new_session(first))
    other = new_person(Role.DEVELOPER, tenant)
    assert Account.objects.get(tenant=tenant).balance == 0
    assert (
        visitor(server, owner).post(member_path(other, "/transfer"), {"confirm": other.user.email}).status_code == 302
    )
    assert Account.objects.get(tenant=tenant).balance == 100 * 100


@pytest.mark.parametrize("path", ["/role", "/remove", "/transfer"])
def test_changes_want_a_recent_sign_in(path: str, server: RunningServer) -> None:
    owner = new_person()
    other = new_person(Role.DEVELOPER, owner.tenant)
    session = new_session(owner.user)
    forget_authentication(session)
    form = {"role": Role.ADMIN, "confirm": other.user.email}
    answer = Visitor(server, session).post(member_path(other, path), form)
    assert answer.status_code == 302
    assert "/console/account/" in answer.headers["location"]
    assert member(other).role == Role.DEVELOPER


def test_change_is_made_once_the_password_was_given(server: RunningServer) -> None:
    owner = new_person()
    other = new_person(Role.DEVELOPER, owner.tenant)
    session = new_session(owner.user)
    forget_authentication(session)
    theirs = Visitor(server, session)
    asked = theirs.post(member_path(other, "/role"), {"role": Role.ADMIN}).headers["location"]
    theirs.get(asked)
    assert theirs.post(asked, {"password": PASSWORD}).headers["location"] == owner.path("team")
    assert member(other).role == Role.ADMIN
    [event] = AuditEvent.objects.filter(tenant_id=owner.tenant.id, action="member.change_role")
    assert event.address == "127.0.0.1"


@pytest.mark.parametrize("change", ["leave", "remove", "demote"])
def test_last_owner_stays(change: str, server: RunningServer) -> None:
    owner = new_person()
    new_person(Role.ADMIN, owner.tenant)
    if change == "leave":
        answer = visitor(server, owner).post(owner.path("team/leave"), {"confirm": owner.tenant.name})
        assert answer.status_code == 422
        assert "this is the last one" in answer.text
    elif change == "remove":
        visitor(server, owner).post(member_path(owner, "/remove"))
    else:
        answer = visitor(server, owner).post(member_path(owner, "/role"), {"role": Role.VIEWER})
        assert answer.status_code == 422
        assert "this is the last one" in answer.text
    assert member(owner).role == Role.OWNER


def test_member_leaves_for_the_typed_name(server: RunningServer) -> None:
    owner = new_person()
    other = new_person(Role.VIEWER, owner.tenant)
    assert visitor(server, other).post(other.path("team/leave"), {"confirm": "no"}).status_code == 422
    answer = visitor(server, other).post(other.path("team/leave"), {"confirm": other.tenant.name})
    assert answer.headers["location"] == "/console/tenants"
    assert visitor(server, other).get(other.path("team")).status_code == 404


def leaves(person: Person, other: Person) -> None:
    team.leave(member(person))


def removes_the_other(person: Person, other: Person) -> None:
    team.remove(member(person), member(other).id)


def demotes_the_other(person: Person, other: Person) -> None:
    team.change_role(member(person), member(other).id, Role.VIEWER)


@pytest.mark.parametrize("change", [leaves, removes_the_other, demotes_the_other])
def test_of_two_owners_at_once_one_stays(change: Callable[[Person, Person], None]) -> None:
    for _ in range(5):
        first = new_person()
        second = new_person(Role.OWNER, first.tenant)
        refused = _at_once(lambda: change(first, second), lambda: change(second, first))  # noqa: B023
        assert refused == 1
        assert Membership.objects.filter(tenant=first.tenant, role=Role.OWNER).count() == 1


def _at_once(*changes: Callable[[], None]) -> int:
    """How many of the changes, each made by a thread on a connection of its own, were refused."""
    start, refused = threading.Barrier(len(changes)), []

    def run(change: Callable[[], None]) -> None:
        try:
            connection.ensure_connection()
            start.wait(10)
            change()
        except (team.Refused, Membership.DoesNotExist) as error:
            refused.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(change,)) for change in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    return len(refused)


# Invitations.


def invited(owner: Person, email: str | None = None, role: str = Role.DEVELOPER) -> Invitation:
    return invitations.invite(member(owner), email or fresh_address(), role)


def test_invitation_is_mailed_with_a_link_that_accepts(server: RunningServer) -> None:
    owner, guest = new_person(), new_user()
    answer = visitor(server, owner).post(
        owner.path("team/invitations"), {"email": guest.email.upper(), "role": "viewer"}
    )
    assert answer.status_code == 302
    mail = server.log_path.read_text().rpartition(f"To: {guest.email}")[2]
    assert owner.tenant.name in mail
    [path] = re.findall(r"^https?://[^/\s]+(/console/invitations/\S+)$", mail, re.MULTILINE)
    theirs = Visitor(server, new_session(guest))
    assert "Accept and join" in theirs.get(path).text
    assert not Membership.objects.filter(user=guest).exists()  # looking accepts nothing
    joined = theirs.post(path)
    assert joined.headers["location"] == owner.path()
    assert Membership.objects.get(user=guest).role == Role.VIEWER
    events = AuditEvent.objects.filter(tenant_id=owner.tenant.id, action__startswith="invitation").order_by("at")
    assert [(each.action, each.actor) for each in events] == [
        ("invitation.create", owner.user.email),
        ("invitation.accept", guest.email),
    ]
    assert theirs.get(path).status_code == 404  # used


def test_link_does_nothing_for_another_user(server: RunningServer) -> None:
    owner, other = new_person(), new_user()
    path = link(invited(owner))
    theirs = Visitor(server, new_session(other))
    assert f"You are signed in as {other.email}" in theirs.get(path).text
    theirs.post(path)
    assert not Membership.objects.filter(user=other).exists()


def test_link_wants_the_address_verified(server: RunningServer) -> None:
    """Else whoever sees the link could sign up with the address."""
    owner, guest = new_person(), new_user()
    EmailAddress.objects.filter(user=guest).update(verified=False)
    path = link(invited(owner, guest.email))
    theirs = Visitor(server, new_session(guest))
    assert "First confirm" in theirs.get(path).text
    theirs.post(path)
    assert not Membership.objects.filter(user=guest).exists()
    assert theirs.get("/console/").headers["location"] == path  # where confirming leads
    EmailAddress.objects.filter(user=guest).update(verified=True)
    assert theirs.post(path).status_code == 302
    assert Membership.objects.filter(user=guest).exists()


def test_link_is_kept_over_signing_up(server: RunningServer) -> None:
    """What is shown is the same whether the address has an account or not."""
    owner, guest = new_person(), new_user()
    pages = set()
    for email in (guest.email, fresh_address()):
        path = link(invited(owner, email))
        anonymous = Visitor(server)
        page = anonymous.get(path)
        assert page.status_code == 200
        text = page.text.replace(email, "ADDRESS").replace(path, "LINK").replace(path.replace("@", "%40"), "LINK")
        pages.add(re.sub(r'content="\w{64}"', "", text))
        assert not Membership.objects.filter(user=guest, tenant=owner.tenant).exists()
        assert anonymous.post(path).status_code == 200
    assert len(pages) == 1


@pytest.mark.parametrize("why", ["withdrawn", "expired", "aged", "forged", "unsigned", "nonsense", "another salt"])
def test_link_that_is_over_opens_nothing(why: str, server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, guest = new_person(), new_user()
    invitation = invited(owner, guest.email)
    path = link(invitation)
    if why == "withdrawn":
        invitations.withdraw(member(owner), invitation.id)
    elif why == "expired":
        Invitation.objects.filter(id=invitation.id).update(expires_at=timezone.now())
    elif why == "aged":
        monkeypatch.setattr(
            "django.core.signing.time.time",
            lambda: timezone.now().timestamp() - invitations.LIFETIME.total_seconds() - 1,
        )
        path = link(invitation)
    elif why == "forged":
        other = tokens.encode_id(invited(owner).id)
        path = path.replace(tokens.encode_id(invitation.id), other)
    elif why == "another salt":
        signed = TimestampSigner(salt="something else", sep=".").sign(tokens.encode_id(invitation.id))
        path = reverse("console:invitation", kwargs={"signed": signed})
    else:
        signed = tokens.encode_id(invitation.id) if why == "unsigned" else "a.b.c"
        path = reverse("console:invitation", kwargs={"signed": signed})
    theirs = Visitor(server, new_session(guest))
    assert theirs.get(path).status_code == 404
    assert theirs.post(path).status_code == 404
    assert not Membership.objects.filter(user=guest).exists()


def test_invitation_is_accepted_once() -> None:
    owner, guest = new_person(), new_user()
    invitation = invited(owner, guest.email)

    def accept() -> None:
        invitations.accept(invitation, guest)

    assert _at_once(accept, accept) == 1
    assert Membership.objects.filter(user=guest).count() == 1


def test_invitation_is_sent_again_and_withdrawn(server: RunningServer) -> None:
    owner = new_person()
    invitation = invited(owner)
    code = tokens.encode_id(invitation.id)
    page = visitor(server, owner)
    page.post(owner.path(f"team/invitations/{code}/send"))
    assert "just now" in page.get(owner.path("team")).text
    Invitation.objects.filter(id=invitation.id).update(expires_at=timezone.now() - timedelta(days=3))
    page.post(owner.path(f"team/invitations/{code}/send"))
    invitation.refresh_from_db()
    assert invitation.expires_at > timezone.now() + timedelta(days=6)
    assert invitations.find(invitations.signed(invitation)) is not None
    page.post(owner.path(f"team/invitations/{code}/withdraw"))
    assert invitations.find(invitations.signed(invitation)) is None
    assert actions(owner) == ["invitation.create", "invitation.send_again", "invitation.withdraw"]


def test_other_tenants_invitations_stay(server: RunningServer) -> None:
    owner, stranger = new_person(), new_person()
    invitation = invited(owner)
    visitor(server, stranger).post(stranger.path(f"team/invitations/{tokens.encode_id(invitation.id)}/withdraw"))
    visitor(server, stranger).post(stranger.path(f"team/members/{tokens.encode_id(member(owner).id)}/remove"))
    assert invitations.find(invitations.signed(invitation)) is not None
    assert member(owner).role == Role.OWNER


def test_refused_invitations_say_why(server: RunningServer) -> None:
    owner = new_person()
    page = visitor(server, owner)
    guest = invited(owner).email
    for form, reason in (
        ({"email": guest, "role": "viewer"}, "has been invited already"),
        ({"email": owner.user.email, "role": "viewer"}, "is a member already"),
        ({"email": "nobody", "role": "viewer"}, "valid email"),
        ({"email": fresh_address(), "role": "owner"}, "owner is not one of"),
        ({"email": fresh_address()}, "required"),
    ):
        answer = page.post(owner.path("team/invitations"), form)
        assert answer.status_code == 422
        assert reason in answer.text
    with pytest.raises(team.Refused, match="Nobody is invited as an owner"):
        invited(owner, role=Role.OWNER)
    with pytest.raises(team.Refused, match="may not invite"):
        invited(new_person(Role.DEVELOPER, owner.tenant))


def test_who_invites_has_verified_their_address() -> None:
    owner = new_person()
    invitation = invited(owner)
    Invitation.objects.filter(id=invitation.id).update(expires_at=timezone.now())
    EmailAddress.objects.filter(user=owner.user).update(verified=False)
    with pytest.raises(team.Refused, match="First verify your own"):
        invited(owner)
    with pytest.raises(team.Refused, match="First verify your own"):
        invitations.renew(member(owner), invitation.id)


def test_open_invitations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = new_person()
    monkeypatch.setattr(invitations, "MOST_OPEN", 2)
    monkeypatch.setattr(invitations, "MOST_A_DAY", 3)
    first, _ = invited(owner), invited(owner)
    with pytest.raises(team.Refused, match="2 invitations are open"):
        invited(owner)
    invitations.withdraw(member(owner), first.id)
    second = invited(owner)
    invitations.withdraw(member(owner), second.id)
    with pytest.raises(team.Refused, match="3 invitations were made within a day"):
        invited(owner)


# Over the API.


def test_members_over_the_api(server: RunningServer) -> None:
    caller = new_caller()
    owner = new_person(tenant=caller.row.tenant)
    new_person()
    with Client(server.url, caller.token) as client:
        [found] = client.send("GET", "/api/v1/members").json()["members"]
        assert client.send("GET", "/api/v1/members?all=1").error_code() == "invalid_request"
    assert found["email"] == owner.user.email
    assert (found["role"], found["two_factor"], found["last_sign_in_at"]) == ("owner", False, None)


def test_roles_of_the_docs_are_the_policys() -> None:
    lines = [["may", *Role], ["---"] * (len(Role) + 1)] + [
        [permission.label, *("yes" if permission in PERMISSIONS[role] else "no" for role in Role)]
        for permission in Permission
    ]
    assert "\n".join(f"| {' | '.join(line)} |" for line in lines) in (ROOT / "docs" / "console.md").read_text()
