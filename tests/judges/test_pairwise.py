"""Comparisons: both orders, and what is made of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.records import Attempt, Messages, SamplingParams
from stillroom.errors import RequestFailed, TeacherDown
from stillroom.judges.llm import Pairwise
from stillroom.judges.records import FAILURES, JudgeState, OrderVerdict, Preference, both_orders, together
from stillroom.judges.rubric import load_rubric
from tests.judges._asking import TASK, Answer, FakeAsker, answered

RUBRIC = load_rubric("helpfulness")
A, B = answered("the answer alpha"), answered("the answer beta", index=1)
ORDERS = {
    "a": OrderVerdict(JudgeState.OK, "first"),
    "b": OrderVerdict(JudgeState.OK, "second"),
    "tie": OrderVerdict(JudgeState.TIE, None),
    **{state.value: OrderVerdict(state, None) for state in FAILURES},
}


def alpha_first(messages: Messages) -> bool:
    text = messages[0].content
    return text.index("alpha") < text.index("beta")


def scripted(forward: Answer, backward: Answer) -> Callable[[Messages, SamplingParams], Answer]:
    """Says `forward` where alpha stands first, else `backward`."""
    return lambda messages, _: forward if alpha_first(messages) else backward


CASES: dict[str, tuple[Answer, Answer, JudgeState, str | None]] = {
    "a twice": ("[[A]]", "[[B]]", JudgeState.OK, "a"),
    "b twice": ("[[B]]", "[[A]]", JudgeState.OK, "b"),
    "a tie twice": ("[[tie]]", "[[C]]", JudgeState.TIE, None),
    "always the first": ("[[A]]", "[[A]]", JudgeState.ORDER_CONFLICT, None),
    "always the second": ("[[B]]", "[[B]]", JudgeState.ORDER_CONFLICT, None),
    "a win and a tie": ("[[A]]", "[[tie]]", JudgeState.ORDER_CONFLICT, None),
    "one unreadable": ("[[A]]", "hm", JudgeState.PARSE_FAILED, None),  # FastChat lets the readable one decide
    "one refused": ("I cannot compare these.", "[[B]]", JudgeState.REFUSED, None),
    "one cut off": (answered("[[A", "length"), "[[B]]", JudgeState.TRUNCATED, None),
    "one failed": (RequestFailed("HTTP 500", retryable=True), "[[B]]", JudgeState.API_ERROR, None),
}


@pytest.mark.parametrize(("forward", "backward", "state", "winner"), CASES.values(), ids=CASES)
async def test_only_what_both_orders_agree_on_counts(
    forward: Answer, backward: Answer, state: JudgeState, winner: str | None
) -> None:
    preference = await Pairwise(FakeAsker(scripted(forward, backward)), RUBRIC).compare(TASK, A, B)
    assert (preference.state, preference.winner) == (state, winner)
    assert len(preference.orders) == 2
    assert (preference.points is None) is preference.failed


@pytest.mark.parametrize(("forward", "backward", "state", "winner"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("both", [True, False])
async def test_exchanging_the_answers_exchanges_the_verdict(
    forward: Answer, backward: Answer, state: JudgeState, winner: str | None, both: bool
) -> None:
    async def compare(a: Attempt, b: Attempt) -> Preference:
        ask = FakeAsker(scripted(forward, backward))
        return await Pairwise(ask, RUBRIC, both_orders=both).compare(TASK, a, b)

    one, other = await compare(A, B), await compare(B, A)
    assert (other.state, other.winner, other.calls) == (one.state, _exchanged(one.winner), one.calls)
    assert other.orders == (one.orders[::-1] if both else one.orders)


def _exchanged(winner: str | None) -> str | None:
    return {"a": "b", "b": "a", None: None}[winner]


@given(st.sampled_from(sorted(ORDERS)), st.sampled_from(sorted(ORDERS)))
def test_orders_joined_mirror_and_never_let_a_failure_win(forward: str, backward: str) -> None:
    one, other = both_orders(ORDERS[forward], ORDERS[backward], 2), both_orders(ORDERS[backward], ORDERS[forward], 2)
    assert (one.state, one.winner) == (other.state, _exchanged(other.winner))
    failed = {forward, backward} & {state.value for state in FAILURES}
    assert one.failed is bool(failed)
    assert (one.points is None) is bool(failed)


async def test_the_same_text_twice_is_a_tie_that_nobody_is_asked_about() -> None:
    ask = FakeAsker([])
    preference = await Pairwise(ask, RUBRIC).compare(TASK, A, answered(A.text, index=7))
    assert (preference.state, preference.calls, ask.asked) == (JudgeState.TIE, 0, [])


async def test_what_does_not_fit_in_one_order_is_asked_in_none() -> None:
    ask = FakeAsker([], room=100)
    preference = await Pairwise(ask, RUBRIC).compare(TASK, A, answered("word " * 200))
    assert (preference.state, preference.calls, ask.asked) == (JudgeState.OVERFLOW, 0, [])


async def test_one_order_is_decided_by_the_texts() -> None:
    asks = [FakeAsker(scripted("[[A]]", "[[B]]")) for _ in range(2)]
    for ask, (a, b) in zip(asks, [(A, B), (B, A)], strict=True):
        preference = await Pairwise(ask, RUBRIC, both_orders=False).compare(TASK, a, b)
        assert (preference.winner, preference.calls) == ("a" if a is A else "b", 1)
    assert asks[0].asked == asks[1].asked


@given(st.lists(st.text(min_size=1, max_size=20), min_size=60, max_size=60, unique=True))
def test_one_order_shows_neither_name_first_by_habit(texts: list[str]) -> None:
    async def first_won() -> list[bool]:
        judge = Pairwise(FakeAsker(lambda *_: "[[A]]"), RUBRIC, both_orders=False)
        pairs = [(answered(a), answered(b)) for a, b in zip(texts[::2], texts[1::2], strict=True)]
        return [(await judge.compare(TASK, *pair)).winner == "a" for pair in pairs]

    assert 0 < sum(asyncio.run(first_won())) < 30


async def test_structured_verdicts_ask_by_schema() -> None:
    def answer(messages: Messages, sampling: SamplingParams) -> Answer:
        assert sampling.json_schema is not None
        return '{"reasons": "x", "winner": "A"}' if alpha_first(messages) else '{"reasons": "x", "winner": "B"}'

    assert (await Pairwise(FakeAsker(answer), RUBRIC, structured=True).compare(TASK, A, B)).winner == "a"


async def test_a_dead_teacher_ends_both_orders() -> None:
    with pytest.raises(TeacherDown):
        await Pairwise(FakeAsker(lambda *_: TeacherDown("nobody")), RUBRIC).compare(TASK, A, B)


async def test_together_leaves_nothing_running() -> None:
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async def fails() -> None:
        await asyncio.sleep(0)
        raise TeacherDown("nobody")

    with pytest.raises(TeacherDown):
        await together(waits(), fails())
    assert ended == ["cancelled"]


def test_the_identity_names_all_that_decides() -> None:
    def identity(rubric: str = "helpfulness", **options: bool) -> str:
        return Pairwise(FakeAsker([]), load_rubric(rubric), **options).identity

    others = [
        identity("writing_style"), identity(structured=True), identity(reasons=False), identity(both_orders=False),
    ]  # fmt: skip
    assert len({identity(), *others}) == 5
