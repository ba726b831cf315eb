"""Inviting people to a tenant, and what their link shows them.

Whoever opens the link before they have an account finds it again after signing up and verifying their address: the
session holds it as `invitation`, and `home` leads there. A user who signs up for it needs no tenant of their own.
"""

from django.contrib import messages
from django.contrib.sessions.backends.base import SessionBase
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.views.decorators.http import require_POST

from accounts import invitations, policy, team, tokens
from accounts.models import Invitation, User
from accounts.policy import Permission, Role
from console import invitation_mail
from console.access import MemberRequest, page
from console.team_forms import InviteForm

SESSION_KEY = "invitation"


def render_team(request: MemberRequest, form: InviteForm) -> HttpResponse:
    open_ones = invitations.of(request.tenant.id) if request.may(Permission.MANAGE_TEAM) else []
    context = {
        "form": form,
        "lines": [
            {"member": each, "code": tokens.encode_id(each.id), "you": each.user_id == request.user.id}
            for each in team.members(request.tenant.id)
        ],
        "invitations": [
            {"row": each, "code": tokens.encode_id(each.id), "sent_at": invitations.sent_at(each)} for each in open_ones
        ],
        "roles": role_table(),
    }
    return render(request, "console/team.html", context, status=422 if form.errors else 200)


def role_table() -> list[tuple[str, list[tuple[str, bool]]]]:
    """What each permission lets do, and for each role, by its name, whether it has it."""
    return [
        (permission.label, [(role.label, policy.allows(role, permission)) for role in Role])
        for permission in Permission
    ]


@page(Permission.MANAGE_TEAM)
@require_POST
def invite(request: MemberRequest) -> HttpResponse:
    form = InviteForm(request.POST, inviter=request.member)
    if form.is_valid():
        try:
            invitation = invitations.invite(request.member, **form.cleaned_data)
        except team.Refused as error:
            form.add_error("email", str(error))
        else:
            _send(request, invitation)
            return _back(request)
    return render_team(request, form)


@page(Permission.MANAGE_TEAM)
@require_POST
def send_again(request: MemberRequest, code: str) -> HttpResponse:
    try:
        _send(request, invitations.renew(request.member, _id(code)))
    except team.Refused as error:
        messages.error(request, str(error))
    return _back(request)


@page(Permission.MANAGE_TEAM)
@require_POST
def withdraw(request: MemberRequest, code: str) -> HttpResponse:
    try:
        invitation = invitations.withdraw(request.member, _id(code))
    except team.Refused as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"The invitation of {invitation.email} is withdrawn; its link no longer works.")
    return _back(request)


def accept(request: HttpRequest, signed: str) -> HttpResponse:
    """What the mail's link shows. Only the POST of its form accepts: mail scanners follow links."""
    invitation = invitations.find(signed)
    if invitation is None:
        request.session.pop(SESSION_KEY, None)
        return render(request, "console/invitation_over.html", status=404)
    if not request.user.is_authenticated:
        request.session[SESSION_KEY] = signed
        return render(request, "console/invitation.html", {"invitation": invitation, "state": "anonymous"})
    user = request.user
    state = _state(invitation, user)
    if request.method == "POST" and state == "theirs":
        return _join(request, invitation, user)
    if state == "unproved":
        request.session[SESSION_KEY] = signed
    return render(request, "console/invitation.html", {"invitation": invitation, "state": state})


def awaits(session: SessionBase, user: User) -> bool:
    """Whether who signs up came for an invitation, and so needs no tenant of their own."""
    invitation = invitations.find(session.get(SESSION_KEY, ""))
    return invitation is not None and invitation.email == user.email


def _state(invitation: Invitation, user: User) -> str:
    """What the one who is signed in has to do with it: "theirs", "unproved" (their address, yet to verify), "other"."""
    if invitations.has_proved(invitation, user):
        return "theirs"
    return "unproved" if invitations.is_for(invitation, user) else "other"


def _join(request: HttpRequest, invitation: Invitation, user: User) -> HttpResponse:
    try:
        membership = invitations.accept(invitation, user)
    except team.Refused:  # somebody else was faster
        return render(request, "console/invitation_over.html", status=404)
    request.session.pop(SESSION_KEY, None)
    messages.success(request, f"You have joined {invitation.tenant.name}.")
    return redirect("console:overview", tenant=tokens.encode_id(membership.tenant_id))


def _send(request: MemberRequest, invitation: Invitation) -> None:
    """The mail, and how that went."""
    if invitation_mail.send(invitation, request.user):
        days = invitations.LIFETIME.days
        messages.success(request, f"{invitation.email} was sent an invitation, which is open for {days} days.")
    else:
        messages.error(request, f"The mail to {invitation.email} could not be sent: send the invitation again later.")


def _back(request: MemberRequest) -> HttpResponse:
    return redirect("console:team", tenant=tokens.encode_id(request.tenant.id))


def _id(code: str) -> int:
    try:
        return tokens.decode_id(code)
    except ValueError:
        raise Http404 from None


urls = [
    path("team/invitations", invite, name="team-invite"),
    path("team/invitations/<str:code>/send", send_again, name="team-invitation-send"),
    path("team/invitations/<str:code>/withdraw", withdraw, name="team-invitation-withdraw"),
]
entrance_urls = [path("invitations/<str:signed>", accept, name="invitation")]
