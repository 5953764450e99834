"""The conversation: each step is proved with the secret and with all that was said before."""

import json

import pytest

from handoffd.pairing.proof import MESSAGE_LIMIT, Conversation, Step, WrongProof

SECRET = b"0123456789abcdef"


def spoken(*steps: Step) -> tuple[Conversation, Conversation, list[dict[str, str]]]:
    """Let two sides say these steps; return both and what was sent."""
    joining, inviting = Conversation(SECRET), Conversation(SECRET)
    sent = []
    for number, step in enumerate(steps):
        speaker, hearer = (joining, inviting) if number % 2 == 0 else (inviting, joining)
        sent.append(speaker.say(step, {"number": number}))
        assert hearer.hear(step, sent[-1]) == {"number": number}
    return joining, inviting, sent


def test_four_steps_are_understood_by_both():
    spoken(*Step)


def test_the_secret_is_in_no_message():
    _, _, sent = spoken(*Step)
    for message in sent:
        assert SECRET.decode() not in json.dumps(message)
        assert SECRET.hex() not in json.dumps(message)


@pytest.mark.parametrize("key", ["step", "message", "proof"])
def test_a_message_that_was_altered_is_refused(key):
    said = Conversation(SECRET).say(Step.JOIN, {"host": "alice-vm"})
    for damaged in (
        {**said, key: said[key] + "x"},
        {**said, key: None},
        {name: said[name] for name in said if name != key},
    ):
        with pytest.raises(WrongProof):
            Conversation(SECRET).hear(Step.JOIN, damaged)


def test_another_secret_is_refused_and_the_right_one_still_works_afterwards():
    inviting = Conversation(SECRET)
    with pytest.raises(WrongProof):
        inviting.hear(Step.JOIN, Conversation(b"another secret..").say(Step.JOIN, {}))
    assert inviting.hear(Step.JOIN, Conversation(SECRET).say(Step.JOIN, {"a": 1})) == {"a": 1}


def test_a_proof_cannot_be_sent_back_to_who_made_it():
    joining = Conversation(SECRET)
    said = joining.say(Step.JOIN, {})
    with pytest.raises(WrongProof):
        joining.hear(Step.OFFER, {**said, "step": "offer"})


def test_a_step_of_another_conversation_does_not_fit():
    first, second = spoken(Step.JOIN, Step.OFFER), spoken(Step.JOIN)
    second[1].say(Step.OFFER, {"number": "another offer"})
    with pytest.raises(WrongProof):
        second[1].hear(Step.CONFIRM, first[0].say(Step.CONFIRM, {}))


def test_a_step_that_was_left_out_is_noticed():
    _, inviting, _ = spoken(Step.JOIN, Step.OFFER)
    with pytest.raises(WrongProof):
        inviting.hear(Step.CONFIRM, Conversation(SECRET).say(Step.CONFIRM, {}))


@pytest.mark.parametrize("message", ["[1]", "not json", '"text"'])
def test_what_is_no_object_is_refused_even_with_a_right_proof(message):
    inviting = Conversation(SECRET)
    proof = inviting._proof(Step.JOIN, message)
    with pytest.raises(WrongProof):
        inviting.hear(Step.JOIN, {"step": "join", "message": message, "proof": proof})


def test_a_message_that_is_too_long_is_refused():
    said = Conversation(SECRET).say(Step.JOIN, {"text": "x" * MESSAGE_LIMIT})
    with pytest.raises(WrongProof):
        Conversation(SECRET).hear(Step.JOIN, said)


def test_a_proof_that_is_no_ascii_is_refused():
    said = Conversation(SECRET).say(Step.JOIN, {})
    for proof in ("ü", "\ud800"):
        with pytest.raises(WrongProof):
            Conversation(SECRET).hear(Step.JOIN, {**said, "proof": proof})
