"""Bodies made to cost much: what one client sends must not keep all others waiting."""

import time

import pytest
from tests.unit.hub.harness import running

from handoffd.hub.document import read_object
from handoffd.hub.refusal import Refused
from handoffd.protocol.timing import BATCH_LIMIT_BYTES, PAYLOAD_LIMIT_BYTES

PATIENCE_S = 50.0
"""A hundred times what one pass takes; a look at all keys for each key takes minutes."""


def keys_and_one_again(size: int) -> bytes:
    """Return an object of about so many bytes: distinct keys, and the last of them twice."""
    count = (size - 20) // 12
    keys = b",".join(b'"%07d":0' % number for number in range(count))
    return b"{" + keys + b',"%07d":0}' % (count - 1)


@pytest.mark.parametrize("size", [PAYLOAD_LIMIT_BYTES, BATCH_LIMIT_BYTES])
def test_the_last_of_very_many_keys_is_found_to_be_a_second_one(size: int) -> None:
    body = keys_and_one_again(size)
    began_s = time.monotonic()
    with pytest.raises(Refused, match="occurs twice"):
        read_object(body)
    assert time.monotonic() - began_s < PATIENCE_S


@pytest.mark.parametrize(
    ("path", "token", "size"),
    [
        ("start", "token-of-alice", PAYLOAD_LIMIT_BYTES),
        ("start", "token-of-bob-vm", PAYLOAD_LIMIT_BYTES),
        ("x/complete", "token-of-alice", PAYLOAD_LIMIT_BYTES),
        ("x/reject", "token-of-alice", PAYLOAD_LIMIT_BYTES),
        ("batch", "token-of-bob-vm", BATCH_LIMIT_BYTES),
    ],
)
async def test_a_body_of_nothing_but_keys_is_refused_at_once(path: str, token: str, size: int) -> None:
    body = keys_and_one_again(size)
    async with running() as here:
        headers = {"Handoffd-Epoch": here.engine.epoch}
        began_s = time.monotonic()
        answer = await here.ask("POST", f"/api/v1/handoffs/{path}", token, body, headers)
        assert 400 <= answer.status < 500
        assert time.monotonic() - began_s < PATIENCE_S
    assert not here.engine.held


@pytest.mark.parametrize("part", [b"[],", b"{},", b'{"a":1},', b"1,", b"1" * 4300 + b",", b'"\\u0041",'])
def test_a_batch_of_many_small_values_is_read_in_one_pass(part: bytes) -> None:
    body = b'{"items":[' + part * ((BATCH_LIMIT_BYTES - 20) // len(part)) + b"0]}"
    began_s = time.monotonic()
    assert len(read_object(body)) == 1
    assert time.monotonic() - began_s < PATIENCE_S


async def test_a_key_that_is_no_transfer_is_not_sent_back_whole() -> None:
    async with running() as here:
        answer = await here.peer("states", {"known": {"k" * 60_000: "queued"}})
    assert (answer.status, len(answer.body["detail"]) < 300) == (400, True)
