"""The one way into a tenant's pages: a page names the permission it takes, and gets the member who asks.

A page's URL holds the tenant's id. Whoever is not a member of that tenant is told that the page does not exist; who is,
but as a role without the permission, is told that. `tests/test_console_access.py` walks the URL table.
"""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Protocol, TypeAlias, cast

from allauth.account.decorators import reauthentication_required
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase

from accounts import policy, tokens
from accounts.models import Membership, Tenant, User
from accounts.policy import Permission
from cacheservice.errors import APIError
from console import problems


class MemberRequest(HttpRequest):
    """A request of a signed-in member of a tenant, who has the page's permission."""

    member: Membership
    tenant: Tenant
    user: User
    may: Callable[[Permission], bool]


Page: TypeAlias = Callable[..., HttpResponseBase]


class _Page(Protocol):
    permission: Permission


def page(permission: Permission) -> Callable[[Page], Page]:
    """A view of one tenant's page: `view(request, **url_arguments)` with a MemberRequest."""

    def decorate(view: Page) -> Page:
        @login_required
        @wraps(view)
        def inner(request: HttpRequest, tenant: str, **arguments: Any) -> HttpResponseBase:
            asked = cast(MemberRequest, request)
            asked.member = membership(cast(User, request.user), tenant)
            asked.tenant = asked.member.tenant
            asked.may = partial(policy.allows, asked.member.role)
            if not policy.allows(asked.member.role, permission):
                raise PermissionDenied(f"Your role, {asked.member.get_role_display()}, may not {permission.label}.")
            if request.session.get("tenant") != tenant:
                request.session["tenant"] = tenant  # where /console/ leads next time
            try:
                return view(asked, **arguments)
            except APIError as error:
                return problems.refused(request, error)

        cast(_Page, inner).permission = permission
        return inner

    return decorate


def recently_authenticated(view: Page) -> Page:
    """For what reveals something or is hard to take back, below `page`: anybody may look at the form, and only who gave
    their password or a second factor within five minutes may send it.

    Whoever did not is asked for it; what they sent goes on from there, as if they had not been asked.
    """
    return cast(Page, reauthentication_required(allow_get=True)(view))


def membership(user: User, encoded: str) -> Membership:
    """The user's membership of the tenant that a URL names. Raises Http404 where there is none."""
    try:
        tenant_id = tokens.decode_id(encoded)
    except ValueError:
        raise Http404 from None
    found = Membership.objects.select_related("tenant").filter(user=user, tenant_id=tenant_id).first()
    if found is None:
        raise Http404
    found.user = user
    return found


def memberships(user: User) -> list[Membership]:
    return list(Membership.objects.select_related("tenant").filter(user=user).order_by("tenant__name"))


def actor(request: MemberRequest) -> str:
    """How the audit log names who asks."""
    return request.user.email
