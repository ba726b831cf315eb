"""What a soak says of its samples: the page's numbers and the picture. The soak itself is `make soak`."""

import csv
import random
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.soak import load, page
from tests.soak.load import Books, Sample
from tests.soak.page import Soak
from tests.soak.watch import PROGRAMS, Moment, Processes, Table

SECONDS = 600.0


def soak() -> Soak:
    """Ten minutes; writes get slower in the last of them, and one table grows."""
    chance = random.Random(1)
    books = Books(hits=3)
    for second in range(int(SECONDS)):
        slow = 0.004 if second >= SECONDS * 5 / 6 else 0.002
        books.samples.append(Sample(second, load.HOT_HIT, 0.001 + chance.random() / 1e6))
        books.samples.append(Sample(second, load.WRITE, slow))
    moments = []
    for at in range(0, int(SECONDS) + 1, 10):
        processes = {program: Processes(100, 30, at / 100) for program in PROGRAMS.values()}
        tables = {"entry": Table(1_000_000, 1_000_000, 1000, 5), "receipt": Table(500_000 + 1000 * at, 0, at + 1, 0)}
        moments.append((float(at), Moment(processes, 7, tables, 1.5)))
    return Soak("2026-11-21", 1, SECONDS, books, moments, 3, "Everything adds up.", [])


def test_page_picture_and_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(page, "PICTURE", tmp_path / "images" / "soak.svg")
    page.PAGE.write_text(f"before\n{page.BEGIN}old\n{page.END}after\n")
    page.write(soak(), tmp_path / "soak.csv")
    text = page.PAGE.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "1,200 requests, 2 a second; 0 of them failed" in text
    assert "3 hits were acknowledged and 3 charged. Reconciliation: Everything adds up. On" in text
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert rows["write"] == "| write | 200 | 2.0 | 4.0 | 2.0 | 4.0 | +100 % |"
    assert rows["server"] == "| server | 100.0 | 100.0 | 30 | 30 | 5.00 | 5.00 |"
    assert rows["receipt*"] == "| receipt* | 0.6 | 1.1 | 1.83 | 101 | 601 | 5,941 | 1,830 | 0 |"
    assert rows["entry"].startswith("| entry | 2.0 | 2.0 | 1.00 | 1,000 ")
    picture = ElementTree.fromstring(page.PICTURE.read_text())
    lines = picture.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) > 10
    assert all(line.get("points") for line in lines)
    header, *samples = csv.reader((tmp_path / "soak.csv").read_text().splitlines())
    assert len(samples) == 61
    assert {len(row) for row in samples} == {len(header)}
