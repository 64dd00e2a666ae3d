"""The alert rules and the dashboard speak only of metrics and labels that /metrics exports."""

import json
import re
from pathlib import Path
from typing import Any

import yaml
from support.many_cases import in_one_test

from zapline.domain.line.reasons import Phase
from zapline.http.ops.metrics import COUNTERS, GAUGES, exported_names

DEPLOY = Path(__file__).parents[2] / "deploy"
PROCESS = {
    "up",
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
}
NAME = re.compile(r"\b(?:zapline|process|python)_\w+|\bup\b")
LABELLED = re.compile(r"(zapline_\w+)\{([a-z]+)(?:=~?)\"([^\"]+)\"\}")
BY = re.compile(r"by \((\w+)\) \((?:\w+\()?(zapline_\w+)")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "zapline.rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return json.loads((DEPLOY / "grafana" / "zapline.json").read_text())["panels"]


def expressions() -> list[str]:
    drawn = [target["expr"] for panel in panels() for target in panel.get("targets", [])]
    return [rule["expr"] for rule in rules()] + drawn


@in_one_test(expressions())
def test_every_metric_named_is_exported(expression: str) -> None:
    named = set(NAME.findall(expression))
    assert named, "an expression without a metric"
    assert named <= exported_names() | PROCESS


@in_one_test(text for text in expressions() if LABELLED.search(text) or BY.search(text))
def test_every_label_named_is_the_metrics_own(expression: str) -> None:
    labels = {metric.exported_name: metric.label for metric in (*COUNTERS, *GAUGES)}
    for name, label, values in LABELLED.findall(expression):
        assert labels[name] == label
        if label == "phase":
            assert set(values.split("|")) <= {phase.value for phase in Phase}
    for label, name in BY.findall(expression):
        assert labels[name] == label


def test_totals_are_read_as_rates_and_gauges_are_not() -> None:
    totals = {metric.exported_name for metric in COUNTERS}
    for expression in expressions():
        rated = set(re.findall(r"(?:rate|increase)\((zapline_\w+)", expression))
        assert rated == {name for name in NAME.findall(expression) if name in totals}, expression


def test_every_alert_says_what_is_wrong_and_how_urgent_it_is() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names)) >= 10
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]


def test_every_counter_is_drawn_or_rated_somewhere() -> None:
    output = " ".join(expressions())
    unseen = [metric.exported_name for metric in (*COUNTERS, *GAUGES) if metric.exported_name not in output]
    assert set(unseen) <= {"zapline_build_info"}


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())
