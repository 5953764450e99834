"""Mutated payloads by the hundred thousand: each is refused with a reason, or an agent can read it."""

import base64
import hashlib
import hmac
import json
import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from handoffd.protocol.admission import REQUIRED, Inadmissible, admit
from handoffd.protocol.payload import label, rejection_words, route, transfer_id
from handoffd.protocol.signature import verify

TEXTS: list[str] = [
    vector["text"]
    for vector in json.loads((Path(__file__).parents[1] / "vectors" / "handoff_v1.json").read_text(encoding="utf-8"))[
        "vectors"
    ]
]
AGENTS = frozenset({"alice", "bob", "gordon"})
FRAGMENTS = [
    *("{", "}", "[", "]", '"', ",", ":", "\\", "\n", " ", "\x00", "-", "1", "e", "null", "true", "NaN", "\ufeff"),
    *('"a":1,', '"hmac":1,', '"transcript":[],', "\\ud800", "\\udfa7", "\\ud83c\\udfa7", "\\u0000", "1e999", "1" * 70),
    *(
        "[" * 70,
        "]" * 70,
        '{"a":' * 70,
        '["]"' * 70,
        "9" * 5_000,
        "-0.0",
        "🎧",
        "\u2028",
        "T",
        "Z",
        "+00:00",
        "/",
        "..",
    ),
]
VALUES = [
    *("null", "true", "false", "0", "1", "1.0", "-1", "1e22", "1e999", "-1e-999", "NaN", "Infinity", "1" * 65, "[]"),
    *(
        "{}",
        '""',
        '"x"',
        '"alice"',
        '"bob"',
        '"gordon"',
        '"mallory"',
        '"\\ud800"',
        '"\\ud83c\\udfa7"',
        '"å"',
        '"a\\nb"',
    ),
    *('"2026-11-20T10:00:30Z"', '"2026-11-20T10:00:00.123456789+05:30"', '"2026-11-20"', '"0001-01-01T00:00:00+23:59"'),
    *('"../../etc/passwd"', '"."', '[{"role":"user","text":"x"}]', '[{"role":[],"text":"x"}]', '[{"role":"user"}]'),
    *('[{"text":1}]', "[null]", '{"a":1,"a":2}', "[" * 63 + "]" * 63, "[" * 64 + "]" * 64, "[" * 9_000 + "]" * 9_000),
]


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def agent_reads(data: bytes) -> None:
    """Read a payload as an existing agent does, trusting that it can: raises on anything hostile."""
    document: dict[str, Any] = json.loads(data.decode("utf-8"))
    signed = {key: value for key, value in document.items() if key != "hmac"}
    canonical = json.dumps(signed, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
    base64.b64decode(document["hmac"], validate=True)
    hmac.compare_digest(base64.b64encode(hmac.digest(b"k", canonical, hashlib.sha256)).decode(), document["hmac"])
    json.dumps(document, ensure_ascii=False).encode("utf-8")
    for name in ("initiated_at", "expires_at"):
        datetime.fromisoformat(document[name].upper().replace("Z", "+00:00")).astimezone(UTC)
    for turn in document["transcript"]:
        (turn["role"] + ": " + turn["text"]).encode("utf-8")
    for name in REQUIRED:
        document[name]
    Path("/archive", f"1-{document['from_agent']}-{document['to_agent']}-{document['handoff_id']}.json").relative_to(
        "/archive"
    )
    if depth_of(document) > 64 or json.dumps(document["protocol_version"]) != "1":
        raise ValueError("no agent could have written this")


def scramble(chance: random.Random, text: str) -> str:
    """Cut, repeat, swap or insert somewhere in the text."""
    at, to = sorted((chance.randrange(len(text)), chance.randrange(len(text))))
    match chance.randrange(5):
        case 0:
            return text[:at] + chance.choice(FRAGMENTS) + text[at:]
        case 1:
            return text[:at] + text[at + chance.randrange(1, 4) :]
        case 2:
            return text[:to] + text[at:to][:40] + text[to:]
        case 3:
            return (
                text[:at]
                + chr(chance.choice((0x20, 0x22, 0x5C, 0x7F, 0xE5, 0x2028, chance.randrange(128))))
                + text[at + 1 :]
            )
        case _:
            return text[:to]


def exchange_value(chance: random.Random, text: str) -> str:
    """Give one field, required or new, another value, written as it stands in VALUES."""
    fields = {key: json.dumps(value) for key, value in json.loads(text).items()}
    fields[chance.choice((*REQUIRED, "extra", "context_summary"))] = chance.choice(VALUES)
    return "{" + ",".join(f"{json.dumps(key)}:{value}" for key, value in fields.items()) + "}"


def reformat(chance: random.Random, text: str) -> str:
    """Write the same document otherwise: still admissible."""
    items = list(json.loads(text).items())
    chance.shuffle(items)
    return json.dumps(dict(items), indent=chance.choice((None, 1, "\t")), ensure_ascii=chance.random() < 0.5)


def damage(chance: random.Random, data: bytes) -> bytes:
    """Overwrite one byte."""
    changed = bytearray(data)
    if changed:
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def mutant(chance: random.Random) -> bytes:
    text = chance.choice(TEXTS)
    if chance.random() < 0.3:
        text = reformat(chance, text)
    if chance.random() < 0.5:
        text = exchange_value(chance, text)
    for _ in range(chance.choice((0, 0, 1, 1, 2, 5))):
        text = scramble(chance, text) if text else text
    data = text.encode()
    return damage(chance, data) if chance.random() < 0.2 else data


def judge(data: bytes) -> str:
    """Return `admitted` or the refusal; an agent must be able to read what was admitted, unchanged."""
    try:
        envelope = admit(data, agents=AGENTS, max_ttl_s=86_400.0, limit_bytes=1 << 20)
    except Inadmissible as refusal:
        return refusal.detail
    agent_reads(data)
    assert envelope.tid == transfer_id(data)
    assert label(data) == (envelope.handoff_id, envelope.hmac)
    return "admitted"


@pytest.mark.parametrize(
    ("seed", "mutants"), [(4, 4_000), *(pytest.param(seed, 26_000, marks=pytest.mark.slow) for seed in range(4))]
)
def test_a_mutant_is_refused_with_a_reason_or_read_by_an_agent(seed: int, mutants: int) -> None:
    chance = random.Random(seed)
    verdicts = Counter(judge(mutant(chance)) for _ in range(mutants))
    assert verdicts["admitted"] > mutants // 20
    assert len(verdicts) > 40
    assert "" not in verdicts


def test_the_lenient_readers_never_raise() -> None:
    chance = random.Random(99)
    for _ in range(10_000):
        data = mutant(chance)
        route(data)
        rejection_words(data)
        label(data)
        verify(data, b"k")


@pytest.mark.parametrize(
    "extra", ["NaN", '"\\ud800"', "[" * 70 + "]" * 70, "9" * 5_000, "[" * 100_000 + "]" * 100_000, "[", "1e999"]
)
def test_the_agent_of_this_test_does_raise_on_what_admission_keeps_out(extra: str) -> None:
    data = f'{TEXTS[0][:-1]},"extra":{extra}}}'.encode()
    with pytest.raises((ValueError, RecursionError)):
        agent_reads(data)
    assert judge(data) != "admitted"
