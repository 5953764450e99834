"""Plain words for what agents tell and for what daemons write into their journals.

It owns words and the order of causes. It knows no process. The rule that must stay true: it says what was told, with
the numbers that were told, and nothing it knows from elsewhere.
"""

from collections.abc import Callable

from handoffd.demo.process import Told

Words = tuple[int, str]
"""Rank of the cause, 0 first, and the words."""
LAST = 99


def agent_words(told: Told) -> Words:
    """Return what an agent did, in words."""
    if "lost" in told:
        return 4, _LOST[told["what"]](told)
    return _DID[told["what"]](told)


def daemon_words(line: Told) -> Words | None:
    """Return what a daemon noted, in words; None for what a spectator need not know."""
    said = _NOTED.get((line["event"], line.get("role", "")))
    return said and (said[0], said[1].format_map({"reason": "", **line}))


def short(digest: str) -> str:
    """Return enough of a SHA-256 to tell it from others."""
    return digest[:12]


def _brief(file: str) -> str:
    """Return a file name on a line: of a published one, the transfer id in it is cut."""
    stem, found, tid = file.removesuffix(".json").partition("-r")
    return f"{stem}-r{short(tid)}...json" if found and len(tid) > len(short(tid)) else file


_DID: dict[str, Callable[[Told], Words]] = {
    "hand_over": lambda told: (
        0,
        f"writes handoff/{told['file']}: {told['bytes']:,} bytes, sha256 {short(told['sha256'])}",
    ),
    "see": lambda told: (5, f"sees handoff/{_brief(told['file'])}" if "file" in told else "sees it over HTTP (poll)"),
    "claim": lambda told: (5, f"claims it by rename: sha256 {short(told['sha256'])}, signature {told['signature']}"),
    "take": lambda told: (5, f"claims it by rename: sha256 {short(told['sha256'])}, signature {told['signature']}"),
    "accept": lambda told: (5, f"claims it over HTTP: 200, sha256 {short(told['sha256'])}"),
    "complete": lambda told: (8, f"completes it over HTTP: {told['status']}"),
    "file_away": lambda told: (
        8,
        f"talks, files it in archive/: {told['turns']} turns, sha256 {short(told['sha256'])}",
    ),
}
_LOST: dict[str, Callable[[Told], str]] = {
    "claim": lambda told: f"is too late: rename fails, {told['lost']}",
    "take": lambda told: f"is too late: rename fails, {told['lost']}",
    "accept": lambda told: f"is too late: HTTP {told['lost']} {told['reason']}",
}
_NOTED: dict[tuple[str, str], Words] = {
    ("daemon_started", ""): (0, "starts: {detail}"),
    ("link_up", ""): (1, "has a link to {peer}"),
    ("link_down", ""): (1, "cannot reach {peer}: {reason}"),
    ("started", "sender"): (1, "takes it into custody"),
    ("stored", "receiver"): (2, "has it, flushed to disk"),
    ("published", "receiver"): (3, "publishes it: {to} can claim it"),
    ("claimed", "receiver"): (6, "sees that {to} has it"),
    ("claimed", "sender"): (7, "knows that {to} has it"),
    ("completed", "receiver"): (9, "keeps the outcome: completed"),
    ("completed", "sender"): (10, "has the outcome: completed"),
    ("expired", "receiver"): (9, "takes it back: nobody claimed it in time"),
    ("expired", "sender"): (10, "has the outcome: expired"),
    ("daemon_stopped", ""): (LAST, "stops in order"),
}
