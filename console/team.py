"""The tenant's people: who they are, what they may do, and how they leave."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.views.decorators.http import require_POST

from accounts import policy, team, tokens
from accounts.models import Membership
from accounts.policy import Permission, Role
from console import invitations, tenancy
from console.access import MemberRequest, page, recently_authenticated
from console.team_forms import ConfirmForm, InviteForm, RoleForm


@page(Permission.SEE_TEAM)
def index(request: MemberRequest) -> HttpResponse:
    return invitations.render_team(request, InviteForm(inviter=request.member))


@page(Permission.MANAGE_TEAM)
def member(request: MemberRequest, code: str) -> HttpResponse:
    return _render_member(request, _member(request, code))


@page(Permission.MANAGE_TEAM)
@require_POST
@recently_authenticated
def change_role(request: MemberRequest, code: str) -> HttpResponse:
    found = _member(request, code)
    form = RoleForm(request.POST, acting=request.member)
    if not form.is_valid():
        return _render_member(request, found, role_form=form)
    try:
        changed = team.change_role(request.member, found.id, form.cleaned_data["role"])
        if changed.role == Role.OWNER:
            tenancy.on_new_owner(changed)
    except team.Refused as error:
        form.add_error("role", str(error))
        return _render_member(request, found, role_form=form)
    messages.success(request, f"{changed.user.email} is now {changed.get_role_display().lower()}.")
    return redirect("console:team", tenant=tokens.encode_id(request.tenant.id))


@page(Permission.MANAGE_TEAM)
@require_POST
@recently_authenticated
def remove(request: MemberRequest, code: str) -> HttpResponse:
    try:
        removed = team.remove(request.member, _member(request, code).id)
    except team.Refused as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{removed.user.email} was removed and has no access any more.")
    return redirect("console:team", tenant=tokens.encode_id(request.tenant.id))


@page(Permission.OWN)
@require_POST
@recently_authenticated
def transfer(request: MemberRequest, code: str) -> HttpResponse:
    found = _member(request, code)
    form = _transfer_form(found, request.POST)
    if not form.is_valid():
        return _render_member(request, found, transfer_form=form)
    try:
        tenancy.on_new_owner(team.transfer_ownership(request.member, found.id))
    except team.Refused as error:
        form.add_error("confirm", str(error))
        return _render_member(request, found, transfer_form=form)
    messages.success(request, f"{found.user.email} is now the owner, and you are an admin.")
    return redirect("console:team", tenant=tokens.encode_id(request.tenant.id))


@page(Permission.SEE_TEAM)
@recently_authenticated
def leave(request: MemberRequest) -> HttpResponse:
    consent = f"To leave, type the tenant's name: {request.tenant.name}"
    form = ConfirmForm(request.POST or None, text=request.tenant.name, consent=consent)
    if request.method == "POST" and form.is_valid():
        try:
            team.leave(request.member)
        except team.Refused as error:
            form.add_error("confirm", str(error))
        else:
            messages.success(request, f"You have left {request.tenant.name}.")
            return redirect("console:tenants")
    return render(request, "console/team_leave.html", {"form": form}, status=422 if form.errors else 200)


def _member(request: MemberRequest, code: str) -> Membership:
    """A member of the tenant by their id in URLs. Raises Http404."""
    try:
        found = team.members(request.tenant.id).filter(id=tokens.decode_id(code)).first()
    except ValueError:
        found = None
    if found is None:
        raise Http404
    return found


def _render_member(request: MemberRequest, found: Membership, **forms: Any) -> HttpResponse:
    """The member's page, with the form that was refused in place of a fresh one."""
    manageable = found.role in policy.manageable(request.member.role)
    other = found.id != request.member.id
    context = {
        "other": other,
        "found": found,
        "code": tokens.encode_id(found.id),
        "roles": invitations.role_table(),
        "role_form": RoleForm(acting=request.member, initial={"role": found.role}) if manageable else None,
        "removable": manageable and other,
        "transfer_form": _transfer_form(found) if other and found.role != Role.OWNER else None,
        **forms,
    }
    return render(request, "console/team_member.html", context, status=422 if forms else 200)


def _transfer_form(found: Membership, data: Any = None) -> ConfirmForm:
    consent = f"To hand the ownership over, type their e-mail address: {found.user.email}"
    return ConfirmForm(data, text=found.user.email, consent=consent, auto_id="transfer_%s")


urls = [
    path("team", index, name="team"),
    path("team/leave", leave, name="team-leave"),
    path("team/members/<str:code>", member, name="team-member"),
    path("team/members/<str:code>/role", change_role, name="team-member-role"),
    path("team/members/<str:code>/remove", remove, name="team-member-remove"),
    path("team/members/<str:code>/transfer", transfer, name="team-member-transfer"),
    *invitations.urls,
]
entrance_urls = invitations.entrance_urls
