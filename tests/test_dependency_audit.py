"""What `make check` makes of pip-audit's reports: a vulnerability fails, and what was not audited is said."""

import json
from typing import Any

from tests.dependency_audit import judged

GOOD = {"name": "django", "version": "5.2.9", "vulns": []}
BAD = {"name": "aiohttp", "version": "3.8.0", "vulns": [{"id": "CVE-2024-23334", "fix_versions": ["3.9.2"]}]}
UNFIXED = {"name": "celery", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": []}]}
SKIPPED = {"name": "redis", "skip_reason": "Dependency not found on PyPI and could not be audited: redis (7)"}


def of(*dependencies: dict[str, Any]) -> tuple[str, int]:
    return judged(json.dumps({"dependencies": dependencies, "fixes": []}), "")


def test_no_vulnerability() -> None:
    assert of(GOOD) == ("Dependencies looked up on PyPI: 1. Known vulnerabilities: 0.", 0)


def test_a_vulnerability_fails() -> None:
    said, code = of(GOOD, BAD, UNFIXED, SKIPPED)
    assert code == 1
    assert "aiohttp 3.8.0: CVE-2024-23334, fixed in ['3.9.2']\n" in said
    assert "celery 1: PYSEC-1, fixed in no version\n" in said
    assert "looked up on PyPI: 3. Known vulnerabilities: 2.\n" in said
    assert "NOT AUDITED: 1 of 4 " in said


def test_what_was_not_audited_is_said() -> None:
    said, code = of(SKIPPED, SKIPPED)
    assert "NOT AUDITED: 2 of 2 " in said
    assert code == 0


def test_no_network_is_said_and_does_not_fail() -> None:
    said, code = judged("", "requests.exceptions.ProxyError: HTTPSConnectionPool(host='pypi.org', port=443)")
    assert (said[:12], code) == ("NOT AUDITED:", 0)


def test_a_lock_without_hashes_fails() -> None:
    said, code = judged("", "ERROR:pip_audit._cli:requirement django==4.0 does not contain a hash")
    assert code == 1
    assert "does not contain a hash" in said
