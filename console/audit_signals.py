"""How members sign in, and what they change about it, stands in the audit log of each of their tenants."""

from typing import Any

from allauth.account import signals as account
from allauth.mfa import signals as mfa
from allauth.mfa.models import Authenticator
from django.contrib.auth import signals as auth
from django.db import transaction
from django.dispatch import Signal

from accounts import audit
from accounts.models import Membership, User

SOMEBODY = "somebody not signed in"
_FACTORS = {
    Authenticator.Type.TOTP: "authenticator app",
    Authenticator.Type.WEBAUTHN: "passkey",
    Authenticator.Type.RECOVERY_CODES: "recovery codes",
}


def connect() -> None:
    _on(auth.user_logged_in, "user.sign_in")
    _on(auth.user_logged_out, "user.sign_out")
    _on(account.password_set, "user.change_password")
    _on(account.password_changed, "user.change_password")
    _on(account.password_reset, "user.reset_password")
    _on(mfa.authenticator_added, "user.add_second_factor")
    _on(mfa.authenticator_removed, "user.remove_second_factor")
    _on(mfa.authenticator_reset, "user.renew_recovery_codes")
    mfa.authentication_failed.connect(_second_factor_failed, dispatch_uid="audit user.fail_second_factor")
    auth.user_login_failed.connect(_sign_in_failed, dispatch_uid="audit user.fail_sign_in")
    account.email_changed.connect(_email_changed, dispatch_uid="audit user.change_email")


def _on(signal: Signal, action: str) -> None:
    """What a user does to themselves."""

    def receive(user: User | None, authenticator: Authenticator | None = None, **_: Any) -> None:
        if user is not None:
            _record(user, user.email, action, **_kind(authenticator))

    signal.connect(receive, weak=False, dispatch_uid=f"audit {action} {id(signal)}")


def _sign_in_failed(credentials: dict[str, Any], **_: Any) -> None:
    """Nothing is written for an address that nobody has."""
    email = str(credentials.get("email") or credentials.get("username") or "").strip().lower()
    user = User.objects.filter(email=email).first()
    if user is not None:
        _record(user, SOMEBODY, "user.fail_sign_in")


def _second_factor_failed(user: User, authenticator: Authenticator, **_: Any) -> None:
    """Whoever it is knows the password."""
    _record(user, SOMEBODY, "user.fail_second_factor", **_kind(authenticator))


def _email_changed(user: User, from_email_address: Any, to_email_address: Any, **_: Any) -> None:
    former = {"former": from_email_address.email} if from_email_address else {}
    _record(user, former.get("former", user.email), "user.change_email", now=to_email_address.email, **former)


@transaction.atomic
def _record(user: User, actor: str, action: str, **details: str) -> None:
    for tenant_id in Membership.objects.filter(user=user).order_by("tenant_id").values_list("tenant_id", flat=True):
        audit.record(tenant_id, actor, action, user.email, **details)


def _kind(authenticator: Authenticator | None) -> dict[str, str]:
    return {} if authenticator is None else {"kind": _FACTORS[Authenticator.Type(authenticator.type)]}
