"""Writes docs/metrics.md from the catalogue of metrics: `python docs/make_metrics.py`.

It owns the page's words; every name, label and meaning comes from the code. A test compares the page with what this
prints, and what a daemon shows with the page.
"""

from pathlib import Path

from handoffd.hub.catalogue import COUNTED, OBSERVED, Family
from handoffd.protocol.reason import Problem, Reason, State
from handoffd.status.latency import MEANING, SLOT_S, SLOTS, STEP_BOUNDS_S
from handoffd.status.meter import FLUSHES, ODD_EVENTS, ROLES

PAGE = Path(__file__).with_name("metrics.md")

INTRODUCTION = """\
# Metrics

<!-- Made by docs/make_metrics.py from daemon/handoffd/hub/catalogue.py and daemon/handoffd/status/. Do not edit. -->

`GET /metrics` gives them in the Prometheus text format: over loopback and over `relay/handoffd.sock` without a token
(over plain HTTP asked as `127.0.0.1`, `[::1]`, `localhost` or by this host's name in the configuration, else 403),
from elsewhere with the operator's (`operator_token`). A scrape looks at the open handoffs once and costs the custody
thread nothing; between scrapes nothing is computed but sums. Each host tells of what it saw itself, so a handoff is
counted at both ends, by `role`.

```yaml
scrape_configs:
  - job_name: handoffd
    static_configs:
      - targets: ["127.0.0.1:8787"]
rule_files: [alerts.yaml]
```

The rules are in [config/alerts.yaml](../config/alerts.yaml), what each means and what to do about it in
[operations.md](operations.md#alerts). Units stand at the end of a name: seconds, bytes; a time stamp is POSIX seconds.
Counters begin at 0 with the daemon.

"""

QUESTIONS = {
    "how long until a caller's handoff is claimed at the other side, at worst": (
        'histogram_quantile(0.99, sum by (le) (rate(handoffd_step_seconds_bucket{step="take_to_claimed"}[5m])))'
    ),
    "what share ends well": (
        'sum(rate(handoffd_endings_total{role="sender",reason="completed"}[1h])) '
        '/ sum(rate(handoffd_endings_total{role="sender"}[1h]))'
    ),
    "why the others end": ('sum by (reason) (increase(handoffd_endings_total{role="sender",reason!="completed"}[1d]))'),
    "is the disk the slow part": (
        "histogram_quantile(0.99, sum by (le, what) (rate(handoffd_flush_seconds_bucket[5m])))"
    ),
}

END = """
The number of series is bounded: no label takes a value from a request. Peers and agents are those of the
configuration, all other labels have the values above.
"""


def page() -> str:
    """Return the page."""
    parts = (_families("Handoffs, links, disk", OBSERVED), _families("HTTP", COUNTED), _labels(), _questions())
    return INTRODUCTION + "\n".join(parts)


def _families(title: str, families: tuple[Family, ...]) -> str:
    rows = "".join(map(_row, families))
    more = "| `process_*` | | | memory, CPU time and descriptors of the process |\n" if families is COUNTED else ""
    return f"## {title}\n\n| name | kind | labels | meaning |\n|---|---|---|---|\n{rows}{more}"


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{family.name}` | {family.kind.value} | {labels} | {family.words} |\n"


def _questions() -> str:
    rows = "".join(f"| {words} | `{query}` |\n" for words, query in QUESTIONS.items())
    return f"## Questions worth asking\n\n| question | PromQL |\n|---|---|\n{rows}{END}"


def _labels() -> str:
    steps = "".join(f"| `{step.value}` | {meaning} |\n" for step, meaning in MEANING.items())
    bounds = ", ".join(f"{bound:g}" for bound in STEP_BOUNDS_S)
    lists = {
        "role": [*ROLES, "relay"],
        "state": [state.value for state in State],
        "reason` of an end": [reason.value for reason in Reason],
        "reason` of a refusal": [*(problem.value for problem in Problem), "or that of an end"],
        "what": FLUSHES,
        "event": ODD_EVENTS,
    }
    values = "".join(f"| `{name}{'' if '`' in name else '`'} | {', '.join(words)} |\n" for name, words in lists.items())
    hours, minutes = SLOTS * SLOT_S // 3_600, SLOT_S // 60
    return (
        "## Labels\n\n"
        f"| `step` | what is timed |\n|---|---|\n{steps}\n"
        "Each by the clock of one host, so no difference of clocks is in it. What was under way at a restart is not\n"
        f"timed. Buckets end at {bounds} s. The steps of the last {hours} h are\n"
        f"also kept in memory, by {minutes} minutes: `handoffd status` shows the last hour.\n\n"
        f"| label | values |\n|---|---|\n{values}\n"
        "What they mean: [custody.md](custody.md), section 9, [journal.md](journal.md), [http-api.md](http-api.md);\n"
        "the `word` of a link's trouble: [link.md](link.md).\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
