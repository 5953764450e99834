"""Writes docs/directories.md from the tables of names and pictures: `python docs/make_directories.py`.

It owns the page's words and its drawings; every place, state and act at start comes from
`handoffd.custody.place`. A test compares the page with what this prints.
"""

from pathlib import Path

from handoffd.custody.flaw import FLAWS, Grade
from handoffd.custody.place import LEGAL, LENT, PLACES, Legal, Place, Role

PAGE = Path(__file__).with_name("directories.md")

INTRODUCTION = """\
# Directories and states

<!-- Made by docs/make_directories.py from the tables in daemon/handoffd/custody/place.py. Do not edit. -->

The directories are the only database. Everything handoffd knows of a handoff is a file name in one of them, so
`ls` shows every state and `cat` every outcome. `handoffd ls`, `show` and `trace` read the same names, with the
daemon running or stopped, and write nothing. What the names promise, and why, is in [custody.md](custody.md).

**T** is the SHA-256 of the payload's exact bytes, **X** the sender's file name, **N** the published name
`{caller_hash}-r{T}.json`.

## One handoff, from bob on one host to alice on another

```
 bob-vm                                                    alice-vm
 ──────                                                    ────────
 handoff/X             bob writes it
    │ take (rename)
 relay/outbox/alice-vm/T~X               POST
    │         queued   ──────────────────────────────────▶ relay/inbox/bob-vm/N.new
    │                                                      relay/inbox/bob-vm/N       receipt     stored
    ▼                      "I have it"                        │ publish (rename)
 relay/sent/alice-vm/T~X  ◀──────────────────────────────  handoff/N                           published
    │         stored                                          │ alice claims (rename)
    │                      "claimed"                          ▼
 claimed/X  (a copy)      ◀──────────────────────────────  claimed/N                             claimed
    │         claimed                                         │ alice is done (rename)
    │                      "completed", final artefact        ▼
 relay/outcome/T.json     ◀──────────────────────────────  archive/{unix}-bob-alice-{handoff_id}.json
 archive/{…}.json         the artefact, if the bytes       relay/outcome/T.json              completed
 archive/{…}.json.original  differ; else archive/X
```

Between the take and the claim nothing of it shows in bob's four directories: `handoffd ls` tells where it is, and
`handoffd reject ID` withdraws it. A handoff that was not completed ends in `rejected/`, with its record beside it as
`….reason`. A handoff between two agents of one host never enters `relay/`: it expires by the janitor, that is all.

## States

```
 queued ─▶ stored ─▶ (leased) ─▶ published ─▶ claimed ─▶ completed | rejected
    │         │          │            │           │
    └─────────┴──────────┴────────────┴───────────┴────▶ expired | revoked | refused | uncertain | unknown
```

States only rise, a final one never changes. `uncertain` follows a power cut, `unknown` a lost tree or a peer silent for
days; handoffd says so rather than guess. A handoff that nobody answers for past its `expires_at` is shown as
*in doubt*, with the time since.

**What `ls` can prove.** A file in `sent/` proves `stored` and no more: whether an agent of the peer can see it, or has
taken it without the copy in `claimed/` having been made yet, is known to the daemon and told by the journal
(`handoffd trace`).
"""

NAMES = """\
## Every legal name

| word | name | meaning |
|---|---|---|
"""

PICTURES = """\
## Every legal picture of one handoff

The first row whose names are all there says what is known: the furthest place wins, a staler name of the same T is a
leftover that start-up removes. *At start* is what the daemon does with it when it starts; after a power cut nothing
that was published is believed.

"""

OTHERS = """\
## What is not a handoff

| name | what it is |
|---|---|
| `relay/lock` | one daemon per tree |
| `relay/format` | layout version; an unknown one refuses to start |
| `relay/epoch` | this tree's random id; a tree that was lost and made again has another |
| `relay/boot` | boot id of the last finished start, or `clean` after an orderly stop |
| `relay/peers/<peer>.json` | the peer's epoch as this host last knew it |
| `relay/wish/T` | the writer of T wants it back (`handoffd reject`); the peer is asked until it has answered |
| `relay/hooked/…` | its wake hook has run and nobody has claimed it yet; made and read by nothing else |
| `relay/tmp/` | unfinished writes, and an empty file for the next payload; emptied at start |
| `relay/quarantine/` | files nobody asked for; never deleted |
| `relay/handoffd.sock` | the operator's door while the daemon runs |
| `relay/events.jsonl`, `.1`, … | the [journal](journal.md); never read to decide anything |
| `rejected/….reason` | the record of the rejection beside the file, or the rejecting agent's words |
| `archive/….original` | the payload as it was signed, beside a final artefact with other bytes |

Any other name is nobody's: it is reported and left alone. Names that begin with a dot are the agents' unfinished
files.

`relay/` is 0700. `ls`, `show`, `trace` and `events` need the daemon's user and say which one that is.
"""

FINDINGS = """\
## What `handoffd fsck` finds

It compares all that lies below a root with these tables: names, bytes, records, and which names may stand beside which.
It writes nothing and repairs nothing, with the daemon running or stopped; what it finds it looks at a second time after
3 s, for files move. Exit 1 if something is **broken**: no crash, no power cut and no rule leaves that. **Unfinished**
is what a crash may leave, and work in progress; the daemon clears it up. Before the start that follows a power cut more
is only unfinished, as the third column says. **Foreign** is nobody's, and left alone.

| finding | grade | before the start after a power cut | meaning | rule | what to do |
|---|---|---|---|---|---|
"""

_TITLES = {
    Role.SENDER: "At the sender",
    Role.RECEIVER: "At the receiver",
    Role.RELAY: "At a relay between them",
    Role.LOCAL: "In nobody's custody",
    None: "Anywhere",
}


def page() -> str:
    """Return the page."""
    names = "".join(f"| {place.value} | {_where(where)} | {means} |\n" for place, (where, means) in PLACES.items())
    pictures = PICTURES + "\n".join(map(_pictures, _TITLES))
    return "\n".join([INTRODUCTION, NAMES + names, pictures, OTHERS, FINDINGS + _findings()])


def _findings() -> str:
    order = list(Grade)
    found = sorted(FLAWS.items(), key=lambda item: order.index(item[1].grade))
    rows = ((what, flaw.grade, flaw.after_power_cut, flaw.means, flaw.rule, flaw.remedy) for what, flaw in found)
    return "".join(f"| `{what}` | {' | '.join(words)} |\n" for what, *words in rows)


def _where(where: str) -> str:
    return where if where.startswith("(") else f"`{where}`"


def _pictures(role: Role | None) -> str:
    head = "| names | state | meaning | at start | after a power cut |\n|---|---|---|---|---|\n"
    rows = "".join(map(_row, (row for row in (*LEGAL, LENT) if row.role is role)))
    return f"### {_TITLES[role]}\n\n{head}{rows}"


def _row(row: Legal) -> str:
    places = ", ".join(place.value for place in Place if place in row.needs)
    state = row.state.value if row.state else f"*{row.word}*"
    return f"| {places} | {state} | {row.means} | {row.at_start} | {row.after_power_cut} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
