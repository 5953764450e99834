import json
from pathlib import Path
from typing import Any

import pytest

from handoffd.protocol.signature import canonical, sign, verify

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "handoff_v1.json").read_text(encoding="utf-8")
)["vectors"]
SECRET = b"pair-secret-for-test-vectors-only"


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_vector_verifies_as_its_writer_says(vector: dict[str, Any]) -> None:
    assert verify(vector["text"].encode(), vector["secret"].encode()) is vector["hmac_valid"]


@pytest.mark.parametrize("vector", [v for v in VECTORS if v["hmac_valid"]], ids=lambda vector: vector["name"])
def test_signing_the_fields_gives_the_vector_s_hmac(vector: dict[str, Any]) -> None:
    assert sign(json.loads(vector["text"]), vector["secret"].encode()) == vector["hmac"]


def test_another_secret_does_not_verify() -> None:
    assert not verify(VECTORS[0]["text"].encode(), b"another-pair")


def test_canonical_bytes_sort_keys_and_leave_the_hmac_out() -> None:
    assert canonical({"b": 1.0, "a": "å", "hmac": "x"}) == b'{"a":"\\u00e5","b":1.0}'


def test_a_number_written_differently_signs_differently() -> None:
    assert sign({"cost": 1.0}, SECRET) != sign({"cost": 1}, SECRET)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"hmac": 1}',
        b'{"hmac": null, "a": NaN}',
        b'{"hmac": "\\ud800"}',
        '{"hmac": "åäö"}'.encode(),
        b'{"\\ud800": 1, "hmac": "x"}',
        b'{"a":' * 100_000,
        b"[" * 100_000,
        b'{"a": ' + b"9" * 5_000 + b"}",
        b'{"a": 1e999, "hmac": ""}',
    ],
    ids=range(14),
)
def test_hostile_bytes_are_not_verified_and_do_not_raise(data: bytes) -> None:
    assert not verify(data, SECRET)
