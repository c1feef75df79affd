"""The dashboard and the alert rules name metrics and labels that a real gateway has, and the
documentation names all of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from tests.deploy.promql import used
from tests.faults.test_lifecycle import get
from tests.support.gateway import Gateway
from tests.support.postgres import Server

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
ALERTS = yaml.safe_load((ROOT / "deploy" / "prometheus-alerts.yaml").read_text())
DOCUMENT = (ROOT / "docs" / "monitoring.md").read_text()
#: Those that Prometheus itself adds to what it scrapes.
TARGET_LABELS = {"job", "instance"}
Labels = dict[str, set[str]]
#: What stands behind a family's name in the names of its time series.
_ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


@pytest.fixture(scope="module")
def exposition(issuer: DevIssuer, postgres: Server) -> Iterator[str]:
    """/metrics of a gateway that has let somebody in, refused a statement and refused a login."""
    extra = {
        "console": {"listen": f"127.0.0.1:{free_port()}"},
        "audit": {
            "stream": [{"name": "copy", "to": "file", "path": "audit.jsonl"}],
            "witnesses": [{"file": "checkpoints"}],
        },
    }
    gateway = Gateway(issuer, {"shop": postgres}, extra=extra)
    gateway.start()
    try:
        with psycopg.connect(gateway.dsn(), autocommit=True) as db:
            db.execute("SELECT email FROM customers LIMIT 1")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute("DROP TABLE customers")
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(gateway.dsn("no-token"))
            yield get(gateway, "/metrics").text
    finally:
        gateway.stop()


@pytest.fixture(scope="module")
def labels(exposition: str) -> Labels:
    """Of each time series' name: its labels."""
    by_metric: Labels = {}
    for family in text_string_to_metric_families(exposition):
        for ending in _ENDINGS.get(family.type, ("",)):
            by_metric.setdefault(family.name + ending, set())
        for sample in family.samples:
            by_metric.setdefault(sample.name, set()).update(sample.labels)
    return by_metric


def expressions() -> Iterator[tuple[str, str, str]]:
    """(where, expression, text that shows labels of its result)."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "5m")
            yield f"dashboard: {panel['title']}", expression, target["legendFormat"]
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            yield f"alert: {rule['alert']}", rule["expr"], " ".join(rule["annotations"].values())


def problems(expression: str, shown: str, labels: Labels) -> list[str]:
    """What an expression and the text beside it name and a gateway does not have."""
    metrics, grouped = used(expression)
    metrics.pop("up", None)
    missing = [f"no metric {name}" for name in metrics if name not in labels]
    available = set().union(TARGET_LABELS, *(labels.get(name, set()) for name in metrics))
    for name, selected in metrics.items():
        wrong = selected - labels.get(name, set()) - TARGET_LABELS
        missing += [f"{name} has no label {label}" for label in sorted(wrong)]
    named = set(re.findall(r"\{\{\s*(?:\$labels\.)?([a-z_]+)\s*\}\}", shown)) - {"value"}
    aggregated = re.search(r"\b(sum|max|min|count)\b", expression) is not None
    missing += [f"no label {label}" for label in sorted((grouped | named) - available)]
    missing += [f"{label} is aggregated away" for label in sorted(named - grouped) if aggregated]
    return missing


@pytest.mark.parametrize(("where", "expression", "shown"), list(expressions()))
def test_what_is_watched_is_there(where: str, expression: str, shown: str, labels: Labels) -> None:
    assert not problems(expression, shown, labels), where


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("sum(salyport_sessions)", ""),
        ("rate(sallyport_statements[5m])", ""),
        ("sallyport_judge_seconds > 1", ""),
        ("rate(sallyport_sessions[5m]) + rate(sallyport_session_total[5m])", ""),
        ('sallyport_target_ready{name="shop"} == 0', ""),
        ("sum by (verdikt) (rate(sallyport_statements_total[5m]))", ""),
        ("sum(rate(sallyport_statements_total[5m]))", "{{verdict}}"),
        ("sallyport_recorder_failed == 1", "{{ $labels.target }}"),
    ],
)
def test_what_is_not_there_is_noticed(expression: str, shown: str, labels: Labels) -> None:
    assert problems(expression, shown, labels)


def test_expressions_are_read() -> None:
    assert used(
        "sum by (le, code) (rate(a_bucket{x='1', y!~\"b{c}\"}[5m])) / on (z) group_left b > 0.5 or"
        " vector(0)"
    ) == (
        {"a_bucket": {"x", "y"}, "b": set()},
        {"le", "code", "z"},
    )
    with pytest.raises(ValueError):
        used("a ? b")
    assert len(list(expressions())) > 30


def test_the_dashboard_is_complete() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    places: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & places, f"{panel['title']} covers another panel"
        assert at["x"] + at["w"] <= 24
        places |= cells
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?([a-z]+)\b", json.dumps(DASHBOARD["panels"]))) == variables.keys()


def test_its_variables_are_there(labels: Labels) -> None:
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            match = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
            assert match is not None
            assert match[1] in labels
            assert match[2] in labels[match[1]] | TARGET_LABELS


def test_alerts_say_what_to_do() -> None:
    names = [rule["alert"] for group in ALERTS["groups"] for rule in group["rules"]]
    assert len(names) == len(set(names))
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("critical", "warning", "info")
            assert {"summary", "description"} == rule["annotations"].keys()


def test_every_metric_is_documented(exposition: str) -> None:
    described = set(re.findall(r"^\| `([a-z_]+)`", DOCUMENT, re.M))
    exposed = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(exposition)
        if not family.name.startswith("process_")
    }
    assert described == exposed


def test_every_histogram_is_complete(exposition: str) -> None:
    """The same buckets in each, whatever was measured: cumulative, up to +Inf, which is the
    count.
    """
    histograms = [f for f in text_string_to_metric_families(exposition) if f.type == "histogram"]
    assert histograms
    for family in histograms:
        by_labels: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
        for sample in family.samples:
            identity = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
            series = by_labels.setdefault(identity, {"buckets": {}})
            if sample.name.endswith("_bucket"):
                series["buckets"][sample.labels["le"]] = sample.value
            else:
                series[sample.name.rpartition("_")[2]] = sample.value
        for series in by_labels.values():
            buckets = list(series["buckets"].items())
            assert len(buckets) >= 9
            assert [count for _, count in buckets] == sorted(count for _, count in buckets)
            assert buckets[-1] == ("+Inf", series["count"])
            assert series["sum"] >= 0
            assert [float(bound) for bound, _ in buckets] == sorted(
                float(bound) for bound, _ in buckets
            )


def test_logins_are_counted_by_outcome(exposition: str) -> None:
    assert 'sallyport_logins_total{outcome="accepted"} 1.0' in exposition
    assert 'sallyport_logins_total{outcome="SP1601"} 1.0' in exposition
    assert 'sallyport_disk_free_bytes{directory="recordings"}' in exposition
    assert "process_resident_memory_bytes" in exposition


def test_an_issuer_that_is_gone(postgres: Server) -> None:
    with DevIssuer() as issuer:
        extra = {"console": {"listen": f"127.0.0.1:{free_port()}"}}
        gateway = Gateway(issuer, {"shop": postgres}, extra=extra).start()
        try:
            series = f'sallyport_issuer_up{{issuer="{issuer.url}"}}'
            assert f"{series} 1.0" in get(gateway, "/metrics").text, "nobody has asked it yet"
            token = gateway.token()
            issuer.stop()
            with pytest.raises(psycopg.OperationalError, match="SP1601"):
                psycopg.connect(gateway.dsn(token))
            text = get(gateway, "/metrics").text
            assert f"{series} 0.0" in text
            assert f'sallyport_issuer_failures_total{{issuer="{issuer.url}"}} 1.0' in text
        finally:
            gateway.stop()
