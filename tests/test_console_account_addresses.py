"""Changing one's e-mail address, over HTTP against the real server: whose an address is, and who cannot take it."""

import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from allauth.account.models import EmailAddress
from django.core.cache import cache

from accounts.models import AuditEvent, Membership, User
from console import email_addresses
from tests.console_cast import PASSWORD, Person, Visitor, forget_authentication, link_in, mails_to, new_person, visitor
from tests.processes import RunningServer
from tests.signing_in_cast import LOGIN, SIGNUP, an_address, is_signed_in, signed_up

pytestmark = pytest.mark.usefixtures("unthrottled")
EMAIL, RESET = "/console/account/email/", "/console/account/password/reset/"
FRESH = "another horse battery"


def ask_for(someone: Visitor, email: str) -> None:
    cache.clear()  # an address gets a mail every three minutes
    someone.get(EMAIL)
    answer = someone.post(EMAIL, {"email": email, "action_add": ""})
    assert (answer.status_code, answer.headers["location"]) == (302, EMAIL), answer.text


def latest_link(server: RunningServer, email: str) -> str:
    return link_in(mails_to(server, email)[-1])


def addresses_of(user: User) -> list[tuple[str, bool]]:
    return list(EmailAddress.objects.filter(user=user).order_by("pk").values_list("email", "verified"))


# An address that was never verified.


def test_unverified_address_makes_room_for_another(server: RunningServer) -> None:
    for _ in range(2):
        former, fresh = an_address(), an_address()
        someone = signed_up(server, former)
        user = User.objects.get(email=former)
        ask_for(someone, fresh)
        user.refresh_from_db()
        assert user.email == fresh
        assert addresses_of(user) == [(fresh, False)]
        someone.post(latest_link(server, former))
        assert addresses_of(user) == [(fresh, False)], "the former address's link verifies no other"
        someone.post(latest_link(server, fresh))
        assert addresses_of(user) == [(fresh, True)]
        tenant_id = Membership.objects.get(user=user).tenant_id
        events = AuditEvent.objects.filter(tenant_id=tenant_id, action="user.change_email").order_by("at")
        assert events[0].details == {"former": former, "now": fresh}


def test_unverified_address_gives_way_to_no_other_accounts(server: RunningServer) -> None:
    email, taken = an_address(), an_address()
    signed_up(server, taken)
    someone = signed_up(server, email)
    someone.get(EMAIL)
    for other in (taken, new_person().user.email):
        answer = someone.post(EMAIL, {"email": other, "action_add": ""})
        assert (answer.status_code, "already registered" in answer.text) == (200, True)
    assert addresses_of(User.objects.get(email=email)) == [(email, False)]


def test_of_two_who_choose_an_address_at_once_one_has_it(server: RunningServer) -> None:
    email, other = an_address(), new_person().user
    signed_up(server, email)
    with pytest.raises(email_addresses.Taken):
        email_addresses.replace_unverified(User.objects.get(email=email), other.email)
    assert addresses_of(User.objects.get(email=email)) == [(email, False)]


def test_taken_addresses_are_not_told_without_end(server: RunningServer) -> None:
    taken = new_person().user.email
    codes = []
    for _ in range(3):
        someone = signed_up(server, an_address())
        someone.get(EMAIL)
        codes += [someone.post(EMAIL, {"email": taken, "action_add": ""}).status_code for _ in range(8)]
    assert codes.count(200) == 20
    assert codes[-1] == 429


# Who verifies an address has it.


def test_account_that_never_verified_an_address_gives_it_up(server: RunningServer) -> None:
    email = an_address()
    first = signed_up(server, email)
    holder = User.objects.get(email=email)
    person = new_person()
    owner = visitor(server, person)
    ask_for(owner, email)
    assert owner.post(latest_link(server, email)).status_code == 302
    person.user.refresh_from_db()
    assert person.user.email == email
    assert addresses_of(person.user) == [(email, True)]

    holder.refresh_from_db()
    assert holder.email == f"released-{holder.pk}@address.invalid"
    assert is_signed_in(first), "they keep their account"
    fresh = an_address()
    ask_for(first, fresh)
    first.post(latest_link(server, fresh))
    assert addresses_of(holder) == [(fresh, True)]


def test_verified_address_stays_with_its_account(server: RunningServer) -> None:
    other, person = new_person(), new_person()
    former = person.user.email
    owner = visitor(server, person)
    ask_for(owner, other.user.email)  # which does not tell that it is taken
    link = latest_link(server, other.user.email)
    assert "Another account has verified this address already" in owner.get(link).text
    page = owner.post(link, follow_redirects=True)
    assert "could not be verified" in page.text
    person.user.refresh_from_db()
    assert person.user.email == former


def test_address_that_is_taken_meanwhile_is_said_so(server: RunningServer) -> None:
    """As when two verify it at the same moment: the database decides."""
    email, person, other = an_address(), new_person(), new_person()
    owner = visitor(server, person)
    ask_for(owner, email)
    User.objects.filter(pk=other.user.pk).update(email=email)
    page = owner.post(latest_link(server, email), follow_redirects=True)
    assert (page.status_code, "could not be verified" in page.text) == (200, True)
    assert addresses_of(person.user) == [(person.user.email, True), (email, False)]


def test_who_opens_a_link_that_a_stranger_asked_for_gives_them_nothing(server: RunningServer) -> None:
    email, person = an_address(), new_person()
    ask_for(visitor(server, person), email)
    link = latest_link(server, email)
    somebody = Visitor(server)
    assert somebody.post(link).headers["location"] == f"{LOGIN}?next={quote(link)}"
    other = visitor(server, new_person())
    assert other.post(link).headers["location"] == f"{LOGIN}?next={quote(link)}"
    assert (email, False) in addresses_of(person.user)

    signed_in = somebody.post(LOGIN, {"login": person.user.email, "password": PASSWORD, "next": link})
    assert signed_in.headers["location"] == link
    assert "verify it" in somebody.get(link).text
    somebody.post(link)
    assert addresses_of(person.user) == [(email, True)]


def test_change_that_waits_keeps_nobody_from_signing_up(server: RunningServer) -> None:
    email, person = an_address(), new_person()
    ask_for(visitor(server, person), email)
    Visitor(server).post(RESET, {"email": email})
    assert "nobody has an account with this address" in " ".join(mails_to(server, email)[-1].split())
    assert Visitor(server).post(SIGNUP, {"email": email, "password1": PASSWORD}).status_code == 302
    assert addresses_of(User.objects.get(email=email)) == [(email, False)]
    assert addresses_of(person.user) == [(person.user.email, True)]


# What a session alone cannot do.


def test_change_of_the_address_asks_for_the_password_again(server: RunningServer) -> None:
    person, fresh = new_person(), an_address()
    owner = visitor(server, person)
    forget_authentication(person.session)
    asked = owner.post(EMAIL, {"email": fresh, "action_add": ""}).headers["location"]
    assert asked.startswith("/console/account/reauthenticate/")
    assert addresses_of(person.user) == [(person.user.email, True)]
    owner.post(asked, {"password": PASSWORD})
    assert (fresh, False) in addresses_of(person.user), "what was sent goes on from there"


def test_present_address_is_told_of_the_change(server: RunningServer) -> None:
    person, fresh = new_person(), an_address()
    ask_for(visitor(server, person), fresh)
    [mail] = mails_to(server, person.user.email)
    assert f"Its e-mail address shall be {fresh}." in mail
    assert f"Set a new password at once: http://localhost:8000{RESET}" in mail


def change_password(server: RunningServer, person: Person) -> None:
    fields = {"oldpassword": PASSWORD, "password1": FRESH, "password2": FRESH}
    assert visitor(server, person).post("/console/account/password/change/", fields).status_code == 302


def reset_password(server: RunningServer, person: Person) -> None:
    someone = Visitor(server)
    someone.post(RESET, {"email": person.user.email})
    form = someone.get(latest_link(server, person.user.email), follow_redirects=True)
    assert someone.post(form.url.path, {"password1": FRESH, "password2": FRESH}).status_code == 302


@pytest.mark.parametrize("new_password", [change_password, reset_password])
def test_new_password_calls_a_change_off(
    server: RunningServer, new_password: Callable[[RunningServer, Person], None]
) -> None:
    person, fresh = new_person(), an_address()
    owner = visitor(server, person)
    ask_for(owner, fresh)
    link = latest_link(server, fresh)
    new_password(server, person)
    assert addresses_of(person.user) == [(person.user.email, True)]
    assert re.search("too old, or not complete", owner.get(link).text)
    assert owner.post(link).status_code == 404


def test_leaving_a_tenant_asks_for_the_password_again(server: RunningServer) -> None:
    owner = new_person()
    other = new_person("viewer", owner.tenant)
    theirs = visitor(server, other)
    forget_authentication(other.session)
    assert theirs.get(other.path("team/leave")).status_code == 200
    answer = theirs.post(other.path("team/leave"), {"confirm": other.tenant.name})
    assert answer.headers["location"].startswith("/console/account/reauthenticate/")
    assert Membership.objects.filter(user=other.user, tenant=other.tenant).exists()
