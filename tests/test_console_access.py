"""Who gets into the console's pages. The URL table is walked, so that a page which is added tomorrow is covered too."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from accounts import policy, tokens
from accounts.models import AuditEvent, Membership, Tenant, random_id
from accounts.policy import Permission, Role
from tests.console_cast import Person, Visitor, new_person, visitor
from tests.processes import RunningServer

# What has no tenant yet is not made by `access.page`: it asks for a login only, or for nothing.
FOR_EVERYBODY = {"invitation"}
DUMMIES = {"int": "1", "path": "x", "str": tokens.encode_id(1)}


@dataclass(frozen=True)
class View:
    """A view of the console with a path to it, in which {tenant} stands for the tenant."""

    name: str
    path: str
    callback: Any

    def __str__(self) -> str:
        return self.name

    @property
    def permission(self) -> Permission:
        found: Permission = self.callback.permission
        return found

    def at(self, tenant: Tenant) -> str:
        return self.path.replace("{tenant}", tokens.encode_id(tenant.id))


def walk(patterns: list[Any], prefix: str = "/console/") -> Iterator[View]:
    for each in patterns:
        route = prefix + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from walk(each.url_patterns, route)
        elif isinstance(each, URLPattern):
            yield View(each.name or route, filled(route), each.callback)


def filled(route: str) -> str:
    """The route with arguments: what they name does not exist, but is spelt as what does."""
    route = route.replace("<str:tenant>", "{tenant}")
    return re.sub(r"<(?:(\w+):)?\w+>", lambda found: DUMMIES[found[1] or "str"], route)


[CONSOLE] = [
    each for each in get_resolver().url_patterns if isinstance(each, URLResolver) and each.app_name == "console"
]
VIEWS = list(walk(CONSOLE.url_patterns))
METHODS = ("GET", "POST")
PAGES = [view for view in VIEWS if "{tenant}" in view.path]
OTHERS = [view for view in VIEWS if "{tenant}" not in view.path]
each_page = pytest.mark.parametrize("view", PAGES, ids=str)


@pytest.fixture(scope="module")
def owner(django_db_setup: None, django_db_blocker: Any) -> Person:
    with django_db_blocker.unblock():
        return new_person()


@pytest.fixture(scope="module")
def stranger(django_db_setup: None, django_db_blocker: Any) -> Person:
    """The owner of another tenant."""
    with django_db_blocker.unblock():
        return new_person()


@pytest.fixture(scope="module")
def cast(django_db_setup: None, django_db_blocker: Any) -> dict[str, Person]:
    """A member of each role, each of a tenant with an owner."""
    with django_db_blocker.unblock():
        return {role: _member(role) for role in Role}


def _member(role: str) -> Person:
    return new_person(role, new_person().tenant)


@cache
def browser(server: RunningServer, person: Person) -> Visitor:
    """One for all of a person's requests: making one takes longer than a page."""
    return visitor(server, person)


@cache
def anonymous(server: RunningServer) -> Visitor:
    return Visitor(server)


def as_before(person: Person) -> None:
    """Their membership as it was, whatever the page before did to it."""
    Membership.objects.update_or_create(tenant=person.tenant, user=person.user, defaults={"role": person.role})


def test_the_walk_finds_the_pages() -> None:
    names = {page.name for page in PAGES}
    assert {"overview", "entries", "api-keys", "usage", "billing", "team", "audit", "settings"} <= names
    assert len({view.name for view in VIEWS}) == len(VIEWS), "two views have one name"


@each_page
def test_every_page_of_a_tenant_names_its_permission(view: View) -> None:
    assert isinstance(view.permission, Permission), f"{view} is no access.page"


@each_page
def test_anonymous_is_sent_to_the_login(view: View, server: RunningServer, owner: Person) -> None:
    for method in METHODS:
        answer = _send(anonymous(server), method, view.at(owner.tenant))
        assert answer.status_code == 302
        assert answer.headers["location"].startswith("/console/account/login/?next=/console/t/")


@each_page
def test_other_tenants_members_learn_nothing(
    view: View, server: RunningServer, owner: Person, stranger: Person
) -> None:
    """Not even whether there is such a tenant."""
    for method in METHODS:
        there = _send(browser(server, stranger), method, view.at(owner.tenant))
        nowhere = _send(browser(server, stranger), method, view.at(Tenant(id=random_id())))
        assert (there.status_code, nowhere.status_code) == (404, 404)
        assert owner.tenant.name not in there.text
        assert _without_tokens(there.text) == _without_tokens(nowhere.text)


@each_page
def test_roles_get_what_the_policy_says(view: View, server: RunningServer, cast: dict[str, Person]) -> None:
    for role, person in cast.items():
        for method in METHODS:
            as_before(person)
            answer = _send(browser(server, person), method, view.at(person.tenant))
            assert answer.status_code < 500, (role, method, answer.text)
            refused = not policy.allows(role, view.permission)
            assert (answer.status_code == 403) == refused, (role, method, answer.status_code)


@each_page
def test_post_without_the_token_is_refused(view: View, server: RunningServer, owner: Person) -> None:
    before = AuditEvent.objects.filter(tenant_id=owner.tenant.id).count()
    for token in ("", "x" * 64):
        answer = browser(server, owner).post(view.at(owner.tenant), {"csrfmiddlewaretoken": token})
        assert answer.status_code == 403
        assert AuditEvent.objects.filter(tenant_id=owner.tenant.id).count() == before


@each_page
def test_get_changes_nothing(view: View, server: RunningServer, owner: Person) -> None:
    """A view that only takes POSTs says so."""
    as_before(owner)
    before = AuditEvent.objects.filter(tenant_id=owner.tenant.id).count()
    answer = browser(server, owner).get(view.at(owner.tenant))
    assert answer.status_code in (200, 302, 404, 405)
    if answer.status_code == 405:
        assert "POST" in answer.headers["allow"]
    assert AuditEvent.objects.filter(tenant_id=owner.tenant.id).count() == before
    assert Membership.objects.filter(tenant=owner.tenant).count() == 1


@pytest.mark.parametrize("view", [*PAGES, *OTHERS], ids=str)
def test_pages_carry_the_headers(view: View, server: RunningServer, owner: Person) -> None:
    as_before(owner)
    headers = browser(server, owner).get(view.at(owner.tenant)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert {"private", "no-store"} <= set(headers["cache-control"].split(", "))
    assert headers["referrer-policy"] == "same-origin"
    policy_of_page = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    if "sandbox" in policy_of_page:  # a value that somebody stored, to be shown or saved by itself
        assert policy_of_page["default-src"] == "'none'"
        return
    assert policy_of_page["default-src"] == "'none'"
    assert policy_of_page["frame-ancestors"] == "'none'"
    assert policy_of_page["base-uri"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]


@pytest.mark.parametrize("view", OTHERS, ids=str)
def test_what_is_no_tenants_asks_for_a_login(view: View, server: RunningServer) -> None:
    answer = anonymous(server).get(view.path)
    if view.name in FOR_EVERYBODY:
        assert answer.status_code in (200, 404)
    else:
        assert answer.status_code in (302, 405)
        assert answer.headers.get("location", "/console/account/login/").startswith("/console/account/login/")


@pytest.mark.parametrize("text", ["", "x", "0" * 11, "z" * 11, "../../x", "%00", "<b>", "00000000001/../x"])
def test_what_is_no_tenants_id_is_not_found(text: str, server: RunningServer, owner: Person) -> None:
    answer = browser(server, owner).get(f"/console/t/{text}/team")
    assert answer.status_code == 404
    assert "<b>" not in answer.text


def test_pages_are_html_when_they_are_refused(server: RunningServer, cast: dict[str, Person]) -> None:
    viewer = cast[Role.VIEWER]
    refused = browser(server, viewer).get(viewer.path("audit"))
    assert "Your role, Viewer, may not read the audit log." in refused.text
    assert "text/html" in refused.headers["content-type"]
    missing = browser(server, viewer).get("/console/nowhere")
    assert (missing.status_code, "text/html" in missing.headers["content-type"]) == (404, True)


def _send(who: Visitor, method: str, path: str) -> Any:
    return who.get(path) if method == "GET" else who.post(path)


def _without_tokens(text: str) -> str:
    return re.sub(r"[A-Za-z0-9]{64}", "", text)
