"""docs/threat-model.md names modules and tests that exist, and a test, or nothing, for each measure."""

import re

from tests.processes import ROOT

PAGE = (ROOT / "docs" / "threat-model.md").read_text()
OURS = ("accounts/", "billing/", "cacheservice/", "console/", "deploy/", "gateway/", "tests/")


def test_every_file_that_it_names_exists() -> None:
    named = {text for text in re.findall(r"`([^`\s]+)`", PAGE) if text.startswith(OURS)}
    assert len(named) > 80
    assert [text for text in sorted(named) if not (ROOT / text).exists()] == []


def test_tests_stand_where_tests_are_promised() -> None:
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| ") and line.count(" | ") >= 3]
    attacks = [row for row in rows if row[0] not in ("| tries", "| between", "| asset")]
    assert len(attacks) > 40
    for row in attacks:
        assert all(text.startswith("tests/test_") for text in re.findall(r"`([^`]+)`", row[-1])), row


def test_security_md_links_to_what_exists() -> None:
    for target in re.findall(r"\]\(([^)#:]+)", (ROOT / "SECURITY.md").read_text()):
        assert (ROOT / target).exists(), target
