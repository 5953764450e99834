"""docs/metrics.md is what the code says, and what a daemon shows is what the page says."""

import importlib.util
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.a_status import LINK, NOW, a_status

from handoffd.custody.opened import Open
from handoffd.custody.place import Role
from handoffd.hub.catalogue import COUNTED, OBSERVED, Kind
from handoffd.hub.metric import Metrics
from handoffd.protocol.reason import Problem
from handoffd.status.meter import Meters
from handoffd.status.model import Concern, Status

DOCS = Path(__file__).parents[2] / "docs"
PROMTOOL = shutil.which("promtool")
SPECIAL = {Kind.HISTOGRAM: {"le"}}


def made_page() -> str:
    spec = importlib.util.spec_from_file_location("make_metrics", DOCS / "make_metrics.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.page())


def busy() -> Status:
    """Return a status in which every series has something to show."""
    handoffs = [
        Open(Role.SENDER, "queued", "a" * 64, "alice-vm", "alice", NOW - 90, NOW - 30),
        Open(Role.RECEIVER, "published", "b" * 64, "alice-vm", "bob", NOW - 90, NOW + 1),
        Open(Role.RECEIVER, "claimed", "c" * 64, "alice-vm", "bob", NOW - 9_000, NOW - 8_000),
    ]
    error = Concern("unreachable", "no route", "check it", "carol-vm")
    return a_status(handoffs, links=(LINK, replace(LINK, peer="carol-vm", state="down", error=error)))


def scraped(status: Status) -> Metrics:
    metrics = Metrics("1.2.3", Meters(), lambda: status)
    metrics.refused(Problem.NOT_FOUND)
    metrics.answered("start", 201, 0.01)
    return metrics


def test_the_page_is_made_from_the_code() -> None:
    assert (DOCS / "metrics.md").read_text() == made_page(), "run: python docs/make_metrics.py"


def test_every_metric_of_the_catalogue_is_shown_with_its_kind_and_labels_and_no_other() -> None:
    shown = {one.name: one for one in text_string_to_metric_families(scraped(busy()).page().decode())}
    own = {name for name in shown if name.startswith("handoffd_")}
    assert own == {family.name.removesuffix("_total") for family in (*OBSERVED, *COUNTED)}
    for family in (*OBSERVED, *COUNTED):
        found = shown[family.name.removesuffix("_total")]
        assert (found.type, found.documentation) == (family.kind.value, family.words)
        for sample in found.samples:
            assert set(sample.labels) - SPECIAL.get(family.kind, set()) == set(family.labels), sample


def test_names_follow_the_conventions_of_prometheus() -> None:
    for family in (*OBSERVED, *COUNTED):
        assert re.fullmatch(r"handoffd(_[a-z]+)+", family.name)
        assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
        assert family.kind is not Kind.HISTOGRAM or family.name.endswith("_seconds")


def test_what_may_alarm_is_there_before_anything_happened() -> None:
    page = scraped(a_status()).page().decode().splitlines()
    for line in (
        'handoffd_events_total{event="parked"} 0.0',
        'handoffd_endings_total{reason="uncertain_power_loss",role="receiver"} 0.0',
        'handoffd_in_doubt{peer="alice-vm"} 0.0',
        'handoffd_backlog_oldest_age_seconds{peer="alice-vm"} 0.0',
        'handoffd_open_oldest_age_seconds{role="receiver",state="published"} 0.0',
        "handoffd_journal_lines_lost_total 0.0",
    ):
        assert line in page or _other_order(line) in page


def test_what_waits_for_whichever_of_several_homes_is_the_backlog_of_its_agent() -> None:
    waits = Open(Role.RELAY, "stored", "t" * 64, "@alice", "alice", NOW - 4, NOW + 60)
    page = (
        scraped(a_status([waits], homes={"alice": ("desk", "hall"), "dora": ("desk", "hall"), "zoe": ("desk",)}))
        .page()
        .decode()
    )
    assert 'handoffd_backlog{peer="@alice"} 1.0' in page
    assert 'handoffd_backlog{peer="@dora"} 0.0' in page


def _other_order(line: str) -> str:
    return re.sub(r"\{([^,]+),([^}]+)\}", r"{\2,\1}", line)


def test_the_number_of_series_is_bounded() -> None:
    metrics = scraped(busy())
    before = len(metrics.page().splitlines())
    for number in range(50):
        metrics.refused(Problem.NOT_FOUND)
        metrics.answered("start", 201, number / 100)
    assert len(metrics.page().splitlines()) == before
    assert before < 900


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: Debian's package prometheus brings it")
def test_prometheus_itself_finds_nothing_to_say_about_the_names() -> None:
    assert PROMTOOL is not None
    page = scraped(busy()).page()
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=page, check=False, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
