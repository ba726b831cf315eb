"""Authenticator apps and recovery codes, over HTTP against the real server, and how their secrets are kept."""

import re
import secrets

import pyotp
import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.core.cache import cache

from accounts import keyring, second_factors
from accounts.models import User
from tests.console_cast import code_of, new_person, new_user, visitor
from tests.processes import RunningServer
from tests.signing_in_cast import an_address, is_signed_in, sign_in

pytestmark = pytest.mark.usefixtures("unthrottled")


def with_totp(user: User) -> str:
    """Set up an authenticator app; its secret."""
    secret = pyotp.random_base32()
    data = {"secret": second_factors.seal(secret)}
    Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data=data)
    seed = {"seed": second_factors.seal(secrets.token_hex(40)), "used_mask": 0}
    Authenticator.objects.create(user=user, type=Authenticator.Type.RECOVERY_CODES, data=seed)
    return secret


def test_set_up_totp_and_sign_in_with_it(server: RunningServer) -> None:
    person = new_person()
    someone = visitor(server, person)
    page = someone.get("/console/account/2fa/totp/activate/").text
    found = re.search(r'<code id="secret">(\w+)</code>', page)
    assert found, page
    secret = found.group(1)
    answer = someone.post("/console/account/2fa/totp/activate/", {"code": code_of(secret)})
    assert answer.headers["location"] == "/console/account/2fa/recovery-codes/"
    kept = Authenticator.objects.get(user=person.user, type=Authenticator.Type.TOTP).data
    assert secret not in str(kept)
    assert second_factors.unseal(kept["secret"]) == secret

    cache.clear()  # a code works once
    someone, answer = sign_in(server, person.user)
    assert answer.headers["location"] == "/console/account/2fa/authenticate/"
    for path in ("/console/you", person.path(), "/console/account/2fa/", "/console/account/email/"):
        assert someone.get(path).status_code == 302, "not without the second factor"
    wrong = someone.post("/console/account/2fa/authenticate/", {"code": "000000"})
    assert "Incorrect code" in wrong.text
    code = {"code": code_of(secret)}
    assert someone.post("/console/account/2fa/authenticate/", code).status_code == 302
    assert is_signed_in(someone)

    other, _ = sign_in(server, person.user)
    assert "Incorrect code" in other.post("/console/account/2fa/authenticate/", code).text, "the same code again"


def test_recovery_code_works_once(server: RunningServer) -> None:
    person = new_person()
    with_totp(person.user)
    page = visitor(server, person).get("/console/account/2fa/recovery-codes/").text
    codes = re.findall(r"^\s*(?:<.*>)?(\d{8})$", page, flags=re.MULTILINE)
    assert len(codes) == 10
    for expected in (302, 200):
        someone, _ = sign_in(server, person.user)
        answer = someone.post("/console/account/2fa/authenticate/", {"code": codes[0]})
        assert answer.status_code == expected


def test_second_factor_takes_a_verified_address(server: RunningServer) -> None:
    person = new_person()
    someone = visitor(server, person)
    EmailAddress.objects.filter(user=person.user).update(verified=False)
    secret = re.search(r'<code id="secret">(\w+)</code>', someone.get("/console/account/2fa/totp/activate/").text)
    assert secret
    answer = someone.post("/console/account/2fa/totp/activate/", {"code": code_of(secret.group(1))})
    assert (answer.status_code, "verified your email" in answer.text) == (200, True)
    assert not Authenticator.objects.filter(user=person.user).exists()


def test_who_has_a_second_factor_can_change_their_address(server: RunningServer) -> None:
    person = new_person()
    with_totp(person.user)
    answer = visitor(server, person).post("/console/account/email/", {"email": an_address(), "action_add": ""})
    assert answer.status_code == 302


def test_secrets_are_sealed_anew_with_a_new_master_key(monkeypatch: pytest.MonkeyPatch) -> None:
    user = new_user()
    secret = with_totp(user)
    former, fresh = settings.MASTER_KEY, keyring.new_master_key_line()
    monkeypatch.setattr(settings, "MASTER_KEY", f"{fresh}\n{former}")
    rewrapped = second_factors.reseal(keyring.load())
    assert rewrapped >= 2
    for factor in Authenticator.objects.filter(user=user):
        sealed = factor.data.get("secret") or factor.data["seed"]
        assert keyring.load().is_current(sealed)
    totp = Authenticator.objects.get(user=user, type=Authenticator.Type.TOTP)
    assert second_factors.unseal(totp.data["secret"]) == secret
    monkeypatch.setattr(settings, "MASTER_KEY", former)
    with pytest.raises(keyring.CannotUnwrap):
        second_factors.unseal(totp.data["secret"])
    monkeypatch.setattr(settings, "MASTER_KEY", f"{former}\n{fresh}")
    second_factors.reseal(keyring.load())  # for whoever comes next


def test_sealed_secrets_open_for_their_purpose_only() -> None:
    sealed = keyring.load().seal("canary", "one purpose")
    assert "canary" not in sealed
    with pytest.raises(keyring.CannotUnwrap):
        keyring.load().open(sealed, "another purpose")
    for broken in ("", ".", "x.y", sealed[:-8], sealed.replace(".", "")):
        with pytest.raises(keyring.CannotUnwrap):
            keyring.load().open(broken, "one purpose")
