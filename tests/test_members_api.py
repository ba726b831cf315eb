"""Members and invitations over the API: an API key with `admin` may what an admin may, and nothing about owners."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, get_args

import msgspec
import pytest
from django.utils import timezone

from accounts import invitations, policy, tokens
from accounts.models import AuditEvent, Invitation, Membership
from accounts.people_answers import Member
from accounts.policy import Role
from billing.models import Account
from console.team_answers import Invitations, SentInvitation
from console.team_requests import RoleName
from tests.cast import Key, new_caller, new_key
from tests.client import Answer, Client
from tests.console_cast import Person, Visitor, mails_to, new_person, new_session, new_user, visitor
from tests.processes import RunningServer

MEMBERS, INVITATIONS = "/api/v1/members", "/api/v1/invitations"
NOBODY = "00000000001"


@pytest.fixture
def owner(committed_db: None) -> Key:
    """A key of a tenant of its own."""
    return new_caller()


@pytest.fixture
def key(owner: Key) -> Key:
    return new_key(owner.row.tenant, ["admin"])


@pytest.fixture
def client(server: RunningServer, key: Key) -> Iterator[Client]:
    with Client(server.url, key.token) as client:
        yield client


def send(client: Client, method: str, path: str, **fields: Any) -> Answer:
    headers = {"content-type": "application/json"} if fields else {}
    return client.send(method, path, json.dumps(fields).encode() if fields else b"", headers)


def membership(person: Person) -> Membership:
    return Membership.objects.get(user=person.user, tenant=person.tenant)


def path_of(person: Person) -> str:
    return f"{MEMBERS}/{tokens.encode_id(membership(person).id)}"


def invite(client: Client, email: str, role: str = "developer") -> Any:
    answer = send(client, "POST", INVITATIONS, email=email, role=role)
    assert answer.status == 201, answer
    msgspec.convert(answer.json(), SentInvitation)
    return answer.json()


def listed(client: Client) -> Any:
    answer = client.send("GET", INVITATIONS)
    assert answer.status == 200, answer
    msgspec.convert(answer.json(), Invitations)
    return answer.json()["invitations"]


def events(owner: Key) -> list[tuple[str, str, str, Any]]:
    """By the API, oldest first."""
    found = AuditEvent.objects.filter(tenant_id=owner.row.tenant_id, actor__startswith="API key").order_by("at")
    return [(event.actor, event.action, event.target, event.details) for event in found]


def email(name: str, owner: Key) -> str:
    """One that no other test has."""
    return f"{name}-{owner.id.lower()}@example.com"


def sent_long_ago(id: str) -> None:
    """So that it may be sent again: an hour before it expires."""
    soon = timezone.now() + timedelta(hours=1)
    Invitation.objects.filter(id=tokens.decode_id(id)).update(expires_at=soon)


def test_roles_are_those_that_an_admin_may_give() -> None:
    assert get_args(RoleName) == policy.manageable(Role.ADMIN)


# Members


def test_role_is_changed_and_holds_at_once(client: Client, owner: Key, key: Key, server: RunningServer) -> None:
    person = new_person(Role.VIEWER, owner.row.tenant)
    answer = send(client, "PATCH", path_of(person), role="admin")
    assert answer.status == 200, answer
    msgspec.convert(answer.json(), Member)
    assert (answer.json()["email"], answer.json()["role"]) == (person.user.email, "admin")
    assert visitor(server, person).get(person.path("audit")).status_code == 200
    assert send(client, "PATCH", path_of(person), role="admin").status == 200  # no change, no event
    details = {"role": "admin", "former": "viewer"}
    assert events(owner) == [(f"API key {key.id}", "member.change_role", person.user.email, details)]


def test_removed_member_has_no_access_at_once(client: Client, owner: Key, server: RunningServer) -> None:
    person = new_person(Role.ADMIN, owner.row.tenant)
    path, there = path_of(person), visitor(server, person)
    assert there.get(person.path()).status_code == 200
    answer = client.send("DELETE", path)
    assert (answer.status, answer.json()) == (200, {"id": path.rpartition("/")[2], "deleted": True})
    assert there.get(person.path()).status_code == 404
    assert client.send("DELETE", path).error_code() == "not_found"
    [(_, *event)] = events(owner)
    assert event == ["member.remove", person.user.email, {"role": "admin"}]


def test_owners_are_made_changed_and_removed_in_the_console(client: Client, owner: Key) -> None:
    first, second = new_person(tenant=owner.row.tenant), new_person(tenant=owner.row.tenant)
    viewer = new_person(Role.VIEWER, owner.row.tenant)
    answers = [client.send("DELETE", path_of(first)), send(client, "PATCH", path_of(second), role="viewer")]
    for answer in answers:
        assert (answer.status, answer.error_code()) == (403, "forbidden")
        assert "Only an owner may make, change or remove owners" in answer.error_message()
    made = send(client, "PATCH", path_of(viewer), role="owner")
    assert (made.status, "owners are made in the console" in made.error_message()) == (400, True)
    assert [membership(each).role for each in (first, second, viewer)] == ["owner", "owner", "viewer"]
    assert events(owner) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"role": "boss"}, "role: invalid enum value 'boss'; send admin, developer, billing or viewer"),
        ({"role": None}, "role: expected `str`"),
        ({"email": "a@example.com"}, "email: the object contains unknown field"),
        ({"role": "admin", "name": "x"}, "name: the object contains unknown field"),
    ],
)
def test_what_a_member_cannot_be(client: Client, owner: Key, fields: Any, message: str) -> None:
    person = new_person(Role.VIEWER, owner.row.tenant)
    answer = send(client, "PATCH", path_of(person), **fields)
    assert (answer.status, answer.error_code()) == (400, "invalid_request")
    assert message.lower() in answer.error_message().lower()
    assert (membership(person).role, events(owner)) == ("viewer", [])


def test_members_of_nobody_and_of_other_tenants_are_not_found(client: Client, owner: Key) -> None:
    stranger = new_person(Role.VIEWER)
    for path in (path_of(stranger), f"{MEMBERS}/{NOBODY}", f"{MEMBERS}/x"):
        for answer in (client.send("DELETE", path), send(client, "PATCH", path, role="admin")):
            assert (answer.status, answer.error_code()) == (404, "not_found")
            assert "GET /api/v1/members lists them" in answer.error_message()
    assert membership(stranger).role == "viewer"


# Invitations


def test_invitation_is_mailed_with_a_link_that_accepts(
    client: Client, owner: Key, key: Key, server: RunningServer
) -> None:
    address = email("new", owner)
    made = invite(client, address.upper(), "viewer")
    assert (made["email"], made["role"], made["invited_by"], made["mailed"]) == (address, "viewer", None, True)
    [mail] = mails_to(server, address)
    assert f'API key {key.id} invites you to the tenant "{owner.row.tenant.name}" on cacheservice, as viewer' in mail
    link = next(word for word in mail.split() if "/console/invitations/" in word)
    assert all(link not in str(each) for each in (made, listed(client)))
    assert listed(client) == [{name: value for name, value in made.items() if name != "mailed"}]

    there = Visitor(server, new_session(user := new_user(address)))
    assert there.post(link[link.index("/console/") :]).status_code == 302
    assert Membership.objects.get(user=user).role == "viewer"
    assert listed(client) == []
    assert events(owner) == [(f"API key {key.id}", "invitation.create", address, {"role": "viewer"})]


def test_members_invitations_are_seen_sent_again_and_withdrawn(
    client: Client, owner: Key, server: RunningServer
) -> None:
    person, address = new_person(tenant=owner.row.tenant), email("colleague", owner)
    invitation = invitations.invite(membership(person), address, Role.BILLING)
    [shown] = listed(client)
    assert (shown["email"], shown["role"], shown["invited_by"]) == (address, "billing", person.user.email)
    path = f"{INVITATIONS}/{shown['id']}"
    early = client.send("POST", f"{path}/send")
    assert (early.status, early.error_code()) == (409, "conflict")
    assert "wait 5 minutes" in early.error_message()
    sent_long_ago(shown["id"])
    again = client.send("POST", f"{path}/send")
    assert (again.status, again.json()["mailed"]) == (200, True)
    assert len(mails_to(server, address)) == 1
    withdrawn = client.send("DELETE", path)
    assert (withdrawn.status, withdrawn.json()) == (200, {"id": shown["id"], "deleted": True})
    assert (listed(client), invitations.find(invitations.signed(invitation))) == ([], None)
    for answer in (client.send("DELETE", path), client.send("POST", f"{path}/send")):
        assert (answer.status, answer.error_code()) == (404, "not_found")
    assert [event[1:] for event in events(owner)] == [
        ("invitation.send_again", address, {"role": "billing"}),
        ("invitation.withdraw", address, {"role": "billing"}),
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"email": "a@example.com"}, "role: the object missing required field `role`; send admin, developer"),
        ({"role": "viewer"}, "email: the object missing required field `email`; send an e-mail address of at most 254"),
        ({"email": "nobody", "role": "viewer"}, "email: 'nobody' is none; send an e-mail address"),
        ({"email": "a b@example.com", "role": "viewer"}, "email: "),
        ({"email": f"{'x' * 250}@example.com", "role": "viewer"}, "email: expected `str` of length <= 254"),
        ({"email": "a@example.com", "role": "owner"}, "owners are made in the console"),
        ({"email": "a@example.com", "role": "viewer", "name": "A"}, "name: the object contains unknown field"),
    ],
)
def test_who_cannot_be_invited(client: Client, owner: Key, fields: Any, message: str) -> None:
    answer = send(client, "POST", INVITATIONS, **fields)
    assert (answer.status, answer.error_code()) == (400, "invalid_request"), answer
    assert message in answer.error_message()
    assert (listed(client), events(owner)) == ([], [])


def test_who_is_there_already_is_a_conflict(client: Client, owner: Key) -> None:
    member = new_person(Role.VIEWER, owner.row.tenant).user.email
    invited = email("invited", owner)
    invite(client, invited)
    for address, message in ((member, "is a member already"), (invited, "has been invited already")):
        answer = send(client, "POST", INVITATIONS, email=address, role="viewer")
        assert (answer.status, answer.error_code()) == (409, "conflict")
        assert message in answer.error_message()
    assert len(listed(client)) == 1


def test_open_invitations_are_bounded(client: Client, owner: Key) -> None:
    week = timezone.now() + invitations.LIFETIME
    Invitation.objects.bulk_create(
        Invitation(tenant=owner.row.tenant, email=email(str(n), owner), role="viewer", expires_at=week)
        for n in range(invitations.MOST_OPEN)
    )
    assert len(listed(client)) == invitations.MOST_OPEN
    answer = send(client, "POST", INVITATIONS, email=email("more", owner), role="viewer")
    assert (answer.status, answer.error_code()) == (409, "conflict")
    assert "50 invitations are open, which is the most there may be: withdraw some first." in answer.error_message()


def test_strangers_are_invited_once_an_owner_is_verified(client: Client, owner: Key, server: RunningServer) -> None:
    tenant, address = owner.row.tenant, email("stranger", owner)
    made = invite(client, email("first", owner))
    sent_long_ago(made["id"])
    Account.objects.filter(tenant=tenant).update(unverified=True)
    for answer in (
        send(client, "POST", INVITATIONS, email=address, role="viewer"),
        client.send("POST", f"{INVITATIONS}/{made['id']}/send"),
    ):
        assert (answer.status, answer.error_code()) == (403, "forbidden")
        assert "First an owner of the tenant has to verify their e-mail address" in answer.error_message()
    assert mails_to(server, address) == []
    assert client.send("DELETE", f"{INVITATIONS}/{made['id']}").status == 200
    Account.objects.filter(tenant=tenant).update(unverified=False)
    assert invite(client, address)["mailed"]


def test_other_tenants_invitations_are_not_found(client: Client, owner: Key) -> None:
    theirs = invitations.invite(membership(new_person()), email("theirs", owner), Role.VIEWER)
    for id in (tokens.encode_id(theirs.id), NOBODY, "x"):
        path = f"{INVITATIONS}/{id}"
        for answer in (client.send("DELETE", path), client.send("POST", f"{path}/send")):
            assert (answer.status, answer.error_code()) == (404, "not_found")
            assert "GET /api/v1/invitations lists them" in answer.error_message()
    assert invitations.find(invitations.signed(theirs)) is not None
    assert listed(client) == []


def test_only_admin_keys_do_any_of_it(server: RunningServer, owner: Key) -> None:
    person = new_person(Role.VIEWER, owner.row.tenant)
    with Client(server.url, new_key(owner.row.tenant, ["read", "write", "delete", "gateway"]).token) as caller:
        answers = [
            send(caller, "PATCH", path_of(person), role="admin"),
            caller.send("DELETE", path_of(person)),
            caller.send("GET", INVITATIONS),
            send(caller, "POST", INVITATIONS, email="a@example.com", role="admin"),
            caller.send("DELETE", f"{INVITATIONS}/{NOBODY}"),
            caller.send("POST", f"{INVITATIONS}/{NOBODY}/send"),
        ]
    assert {answer.error_code() for answer in answers} == {"forbidden"}
    assert membership(person).role == "viewer"


def test_other_content_types_and_parameters_are_refused(client: Client, owner: Key) -> None:
    person = new_person(Role.VIEWER, owner.row.tenant)
    assert client.send("POST", INVITATIONS, b"email=a").status == 415
    assert client.send("PATCH", path_of(person), b"role=admin").status == 415
    for method, path in (("GET", INVITATIONS), ("DELETE", path_of(person))):
        assert client.send(method, f"{path}?all=1").error_code() == "invalid_request"
    assert membership(person).role == "viewer"
