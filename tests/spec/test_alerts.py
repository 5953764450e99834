"""config/alerts.yaml: every metric and label exists, every value of a label is one, every alert has its runbook."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from handoffd.hub.catalogue import COUNTED, OBSERVED, Kind
from handoffd.protocol.reason import Problem, Reason
from handoffd.status.latency import Step
from handoffd.status.meter import FLUSHES, ODD_EVENTS, ROLES

PROJECT = Path(__file__).parents[2]
FILE = PROJECT / "config/alerts.yaml"
TRIAL = Path(__file__).with_name("alerts_test.yaml")
RULES: list[dict[str, Any]] = [rule for group in yaml.safe_load(FILE.read_text())["groups"] for rule in group["rules"]]
FAMILIES = {
    f"{family.name}{suffix}": family
    for family in (*OBSERVED, *COUNTED)
    for suffix in (("_bucket", "_sum", "_count") if family.kind is Kind.HISTOGRAM else ("",))
}
VALUES: dict[str, set[str]] = {
    "role": {*ROLES, "relay"},
    "reason": {*(reason.value for reason in Reason), *(problem.value for problem in Problem)},
    "event": set(ODD_EVENTS),
    "step": {step.value for step in Step},
    "what": set(FLUSHES),
}
PROMTOOL = shutil.which("promtool")


def names(rule: dict[str, Any]) -> list[str]:
    return [str(name) for name in re.findall(r"\bhandoffd_[a-z_]+", rule["expr"])]


def test_there_are_alerts() -> None:
    assert len(RULES) > 10
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_metric_and_label_of_an_alert_exists(rule: dict[str, Any]) -> None:
    assert names(rule) or rule["alert"] == "HandoffdAbsent"
    for name in names(rule):
        assert name in FAMILIES
    for name, matchers in re.findall(r"\b(handoffd_[a-z_]+)\{([^}]*)\}", rule["expr"]):
        for label, _, value in re.findall(r'([a-z]+)(=~|!~|!=|=)"([^"]*)"', matchers):
            assert label in FAMILIES[name].labels
            assert set(value.split("|")) <= VALUES[label]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_that_needs_a_counter_looks_at_its_growth(rule: dict[str, Any]) -> None:
    for name in names(rule):
        if FAMILIES[name].kind is not Kind.GAUGE:
            assert re.search(rf"(rate|increase)\({name}[{{\[]", rule["expr"])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_leads_to_meaning_check_and_remedy(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert {"summary", "description", "runbook_url"} <= rule["annotations"].keys()
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    text = (PROJECT / page).read_text()
    assert anchor == rule["alert"].lower()
    section = re.search(rf"^### {rule['alert']}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    assert "*Check*" in section[1]
    assert "*Remedy*" in section[1]


def test_every_runbook_section_has_its_alert() -> None:
    text = (PROJECT / "docs/operations.md").read_text()
    chapter = text[text.index("## Alerts") : text.index("## Back-up")]
    assert re.findall(r"^### (\w+)$", chapter, re.MULTILINE) == [rule["alert"] for rule in RULES]


def test_the_trial_of_the_rules_leaves_no_alert_out() -> None:
    trial = TRIAL.read_text()
    assert [rule["alert"] for rule in RULES if f'alertname="{rule["alert"]}"' not in trial] == []


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: Debian's package prometheus brings it")
@pytest.mark.parametrize("words", [("check", "rules", str(FILE)), ("test", "rules", str(TRIAL))], ids=lambda it: it[0])
def test_prometheus_itself_takes_the_rules_and_they_fire_where_they_should(words: tuple[str, ...]) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *words], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
