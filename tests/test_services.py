"""What `make test-services` says where it may not install."""

import os

import pytest

from tests.services import debian


def test_what_is_missing_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "DIRECTORIES", ())
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(debian.Missing) as missing:
        debian.install()
    packages = "postgresql-15 redis-server rabbitmq-server pgbouncer caddy nginx-light"
    assert str(missing.value) == f"not installed: sudo apt-get install --no-install-recommends {packages}"
