"""The sessions in which a user is signed in: where they were seen last, and how to end one."""

import time
from collections.abc import Callable
from typing import cast

from allauth.usersessions.internal.flows.sessions import end_sessions
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.sessions.models import Session
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import path
from django.utils import timezone
from django.views.decorators.http import require_POST

from accounts.models import User
from console import reauthentication
from console.access import recently_authenticated

SEEN_SECONDS = 300  # how exact "last seen" is
_SEEN = "seen_at"


def track(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware that notes from where a session was used last, with a write every few minutes at most."""

    def middleware(request: HttpRequest) -> HttpResponse:
        session = request.session
        stale = session.session_key and time.time() - session.get(_SEEN, 0) > SEEN_SECONDS
        if stale and request.user.is_authenticated:
            session[_SEEN] = int(time.time())
            UserSession.objects.create_from_request(request)
        return get_response(request)

    return middleware


def drop_expired() -> None:
    """Nobody can use them any more; a daily task calls this."""
    Session.objects.filter(expire_date__lt=timezone.now()).delete()


@require_POST
@login_required
@recently_authenticated
def end(request: HttpRequest, session: int) -> HttpResponse:
    """Sign one session out; one's own too."""
    found = get_object_or_404(UserSession, pk=session, user=cast(User, request.user))
    end_sessions(request, [found])
    messages.success(request, "The session was signed out.")
    return redirect("usersessions_list")


urls = [path("you/sessions/<int:session>/end", end, name="session-end"), *reauthentication.urls]
