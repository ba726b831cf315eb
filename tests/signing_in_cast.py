"""How people come into the console in the tests of signing in: by its forms."""

import secrets
from typing import Any

from accounts.models import User
from tests.console_cast import PASSWORD, Visitor
from tests.processes import RunningServer

LOGIN, SIGNUP = "/console/account/login/", "/console/account/signup/"


def an_address() -> str:
    return f"ann.{secrets.token_hex(6)}@example.com"


def signed_up(server: RunningServer, email: str) -> Visitor:
    someone = Visitor(server)
    answer = someone.post(SIGNUP, {"email": email, "password1": PASSWORD})
    assert answer.status_code == 302, answer.text
    return someone


def sign_in(server: RunningServer, user: User, password: str = PASSWORD, **arguments: Any) -> tuple[Visitor, Any]:
    someone = Visitor(server)
    return someone, someone.post(LOGIN, {"login": user.email, "password": password, **arguments})


def is_signed_in(someone: Visitor) -> bool:
    answer = someone.get("/console/you")
    assert answer.status_code in (200, 302)
    return answer.status_code == 200
