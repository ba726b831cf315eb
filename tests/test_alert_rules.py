"""Dashboard and alerts: PromQL that Prometheus takes, about metrics that /metrics gives, each alert with its page."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from django.conf import settings

from tests.deployed import DEPLOY, documents
from tests.processes import ROOT, RunningServer

MONITORING = DEPLOY / "monitoring"
RUNBOOK = ROOT / "docs" / "runbooks" / "alerts.md"
# What Grafana replaces before Prometheus sees it.
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*"}
PROMETHEUS_OWN = {"up"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (Debian's package prometheus) is not installed"
)


def alerts() -> dict[str, dict[str, Any]]:
    """By name."""
    content = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    rules = [rule for group in content["groups"] for rule in group["rules"]]
    return {rule["alert"]: rule for rule in rules}


def panels() -> Iterator[dict[str, Any]]:
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]:
        if panel["type"] != "row":
            yield panel


def expressions() -> Iterator[str]:
    """Of the dashboard, as Prometheus sees them."""
    for panel in panels():
        for target in panel["targets"]:
            expression: str = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            yield expression


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_rules_are_valid() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(MONITORING / "alerts.yml"))


@needs_promtool
def test_each_alert_fires_when_it_should_and_not_before() -> None:
    promtool("test", "rules", str(MONITORING / "alerts_test.yml"))


@needs_promtool
def test_scrape_example_is_valid() -> None:
    promtool("check", "config", "--syntax-only", str(MONITORING / "prometheus.yml"))


@needs_promtool
def test_dashboard_asks_what_prometheus_understands(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": expression} for n, expression in enumerate(expressions())]
    path = tmp_path / "dashboard.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(path))


def test_each_alert_has_a_test() -> None:
    content = yaml.safe_load((MONITORING / "alerts_test.yml").read_text())
    cases = [case for test in content["tests"] for case in test["alert_rule_test"]]
    for name in alerts():
        assert {bool(case.get("exp_alerts")) for case in cases if case["alertname"] == name} == {True, False}, name


def test_each_alert_has_its_section_in_the_runbook() -> None:
    sections = re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert sections == list(alerts()), "in the same order"
    for name, rule in alerts().items():
        assert rule["annotations"]["runbook"] == f"docs/runbooks/alerts.md#{name.lower()}"
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]


def test_each_metric_that_is_asked_for_is_there(server: RunningServer) -> None:
    page = httpx.get(f"{server.url}/metrics", timeout=30).text
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)", page, re.MULTILINE))
    histograms = {name for name, kind in kinds.items() if kind == "histogram"}
    there = {name: name for name in kinds.keys() - histograms}
    there |= {f"{name}_{part}": name for name in histograms for part in ("bucket", "sum", "count")}
    asked = set()
    for expression in [*expressions(), *(rule["expr"] for rule in alerts().values())]:
        bare = re.sub(r'"[^"]*"', "", expression)
        asked |= set(re.findall(r"\b(cacheservice_\w+|up)\b", bare))
    assert asked - PROMETHEUS_OWN - there.keys() == set()
    assert set(kinds) - {there[name] for name in asked - PROMETHEUS_OWN} == set(), "nobody looks at them"


def test_each_scheduled_task_is_watched() -> None:
    watched = re.findall(r'task=~"([^"]+)"', alerts()["CacheserviceTaskOverdue"]["expr"])
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        name = str(entry["task"]).removeprefix("cacheservice.").replace(".tasks.", ".")
        assert any(re.fullmatch(pattern, name) for pattern in watched), name


def test_memory_is_high_before_a_server_is_killed() -> None:
    bound = float(alerts()["CacheserviceMemoryHigh"]["expr"].partition(" > ")[2])
    for platform, limit in memory_limits().items():
        assert 0.7 < bound / limit <= 0.8, platform


def memory_limits() -> dict[str, int]:
    """Bytes that a server may use, by what keeps it within them. All three count in powers of two."""
    unit = (DEPLOY / "systemd" / "cacheservice-server@.service").read_text()
    [systemd] = re.findall(r"^MemoryMax=(.*)$", unit, re.MULTILINE)
    [compose] = documents("compose/compose.yaml")
    [deployment] = [each for each in documents("kubernetes/base/server.yaml") if each["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    limits = {
        "systemd": systemd,
        "Compose": compose["services"]["server"]["mem_limit"],
        "Kubernetes": container["resources"]["limits"]["memory"],
    }
    units = {"M": 2**20, "G": 2**30}
    return {name: int(limit.rstrip("i")[:-1]) * units[limit.rstrip("i")[-1].upper()] for name, limit in limits.items()}


def test_dashboard_can_be_imported() -> None:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    assert dashboard["title"]
    assert dashboard["uid"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in panels():
        assert panel["title"]
        assert panel["description"]
        assert panel["targets"]
