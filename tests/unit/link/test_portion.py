"""How many handoffs go in one request, as answers come soon, late or not at all."""

from hypothesis import given
from hypothesis import strategies as st

from handoffd.link.portion import SOON_S, Portion
from handoffd.protocol.timing import BATCH_ITEMS, REQUEST_TOTAL_S


def test_a_link_begins_with_a_whole_batch_and_holds_no_more():
    portion = Portion()
    portion.answered(BATCH_ITEMS, 0.0)
    assert portion.most == BATCH_ITEMS


def test_after_silence_it_is_half_as_many_and_never_none():
    portion = Portion()
    seen = []
    while portion.most > 1:
        portion.unanswered(portion.most)
        seen.append(portion.most)
    assert seen == [50, 25, 12, 6, 3, 1]
    portion.unanswered(1)
    assert portion.most == 1


def test_an_answer_that_comes_soon_doubles_it_and_a_late_one_does_not():
    portion = Portion()
    portion.unanswered(BATCH_ITEMS)
    portion.answered(50, SOON_S + 0.1)
    assert portion.most == 50
    portion.answered(50, SOON_S)
    assert portion.most == BATCH_ITEMS


def test_a_request_that_could_have_held_more_shows_nothing():
    portion = Portion()
    portion.unanswered(BATCH_ITEMS)
    portion.answered(49, 0.0)
    portion.unanswered(1)
    assert portion.most == 50


def test_what_was_not_answered_is_not_made_again_as_it_was_however_few_fit_into_it():
    portion = Portion()
    portion.unanswered(7)
    assert portion.most == 3


@given(st.floats(0.01, REQUEST_TOTAL_S * 0.99))
def test_on_any_link_that_carries_one_in_time_more_than_half_of_all_requests_are_answered(one_s: float):
    """A request takes as long as its items; whoever gives up after REQUEST_TOTAL_S has had nothing of it."""
    portion = Portion()
    answers = []
    for _ in range(100):
        items, within_s = portion.most, portion.most * one_s
        answers.append(within_s <= REQUEST_TOTAL_S)
        portion.answered(items, within_s) if answers[-1] else portion.unanswered(items)
    assert all(answers[10:]), "once it is right it stays so"
