"""A judge that nobody can read stops, before more is paid for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stillroom.common.records import Completion, Request, SamplingParams
from stillroom.common.secrets import keep_key
from stillroom.errors import RequestFailed, RunError
from stillroom.judges.llm import Pointwise
from stillroom.judges.records import JudgeState, Rating
from stillroom.judges.rubric import load_rubric
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.requests import Asker
from stillroom.sampling.teachers.base import RetrySettings
from stillroom.sampling.teachers.scripted import Fault, ScriptedTeacher
from tests.judges._asking import TASK, answered

GOOD, BAD = "[[helpfulness: 4]]", "A solid four, I would say."


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path) as opened:
        yield opened


def judge_of(teacher: ScriptedTeacher, ledger: Ledger, most: int | None = 10) -> Pointwise:
    ask = Asker(
        teacher, ledger, SamplingParams(temperature=0, max_tokens=64), seed=0, retry=RetrySettings(attempts=1)
    )
    return Pointwise(ask, load_rubric("helpfulness"), logprobs=False, max_unread=most)


async def rate(judge: Pointwise, count: int) -> list[Rating | BaseException]:
    """Ratings of so many answers, all asked for at once."""
    rated = [judge.rate(TASK, answered(f"answer {number}")) for number in range(count)]
    return await asyncio.gather(*rated, return_exceptions=True)


@pytest.mark.parametrize("concurrency", [1, 4, 64])
async def test_ten_in_a_row_are_paid_for_and_no_more(ledger: Ledger, concurrency: int) -> None:
    teacher = ScriptedTeacher(lambda _: BAD, concurrency=concurrency)
    found = await rate(judge_of(teacher, ledger), 40)
    stopped = [each for each in found if isinstance(each, RunError)]
    assert len(teacher.calls) == ledger.count() == 10
    assert stopped
    rated = [each for each in found if isinstance(each, Rating)]
    assert {each.state for each in rated} <= {JudgeState.PARSE_FAILED}
    for said in ("10 replies in a row of the judge scripted", BAD, "max_tokens", "--retry failures", "max_unread"):
        assert said in str(stopped[0])


@pytest.mark.parametrize(("most", "calls"), [(3, 3), (None, 40)])
async def test_the_limit_is_a_setting(ledger: Ledger, most: int | None, calls: int) -> None:
    teacher = ScriptedTeacher(lambda _: BAD)
    found = await rate(judge_of(teacher, ledger, most), 20)
    assert len(teacher.calls) == calls  # with its repair each, where nothing stops it
    assert any(isinstance(each, RunError) for each in found) is (most is not None)


def alternating(request: Request, seen: list[str]) -> str:
    """Every tenth reply can be read."""
    seen.append(request.task_id)
    return GOOD if len(seen) % 10 == 0 else BAD


async def test_nine_in_a_row_stop_nobody(ledger: Ledger) -> None:
    seen: list[str] = []
    teacher = ScriptedTeacher(lambda request: alternating(request, seen), concurrency=1)
    found = await rate(judge_of(teacher, ledger), 40)
    assert not [each for each in found if isinstance(each, BaseException)]
    assert len(teacher.calls) > 40


def cut(request: Request) -> Completion:
    return Completion("Let me think about", "length", 5, 64)


def declined(request: Request) -> str:
    return "I cannot rate this text."


@pytest.mark.parametrize(
    ("answer", "stops"),
    [(cut, True), (lambda _: "", True), (declined, False), (lambda _: Completion("", "content_filter", 5, 0), False)],
)
async def test_what_counts_as_unreadable(
    ledger: Ledger, answer: Callable[[Request], str | Completion], stops: bool
) -> None:
    teacher = ScriptedTeacher(answer)
    found = await rate(judge_of(teacher, ledger), 30)
    assert any(isinstance(each, RunError) for each in found) is stops
    assert len(teacher.calls) == (10 if stops else 30)


async def test_failed_requests_hold_nobody_up(ledger: Ledger) -> None:
    teacher = ScriptedTeacher(lambda _: GOOD, faults=[Fault(2, RequestFailed("HTTP 500", retryable=True))])
    found = await rate(judge_of(teacher, ledger), 20)
    states = [each.state for each in found if isinstance(each, Rating)]
    assert (states.count(JudgeState.OK), states.count(JudgeState.API_ERROR)) == (10, 10)


async def test_on_record_they_stop_before_anything_is_paid_for(ledger: Ledger) -> None:
    await rate(judge_of(ScriptedTeacher(lambda _: BAD, concurrency=1), ledger), 40)
    teacher = ScriptedTeacher(lambda _: GOOD)
    found = await rate(judge_of(teacher, ledger), 40)
    assert teacher.calls == []
    assert any(isinstance(each, RunError) for each in found)


async def test_a_run_that_asks_for_nothing_more_is_not_stopped(ledger: Ledger) -> None:
    await rate(judge_of(ScriptedTeacher(lambda _: BAD), ledger, None), 20)
    teacher = ScriptedTeacher(lambda _: GOOD)
    found = await rate(judge_of(teacher, ledger), 20)
    assert teacher.calls == []
    assert [each.state for each in found if isinstance(each, Rating)] == [JudgeState.PARSE_FAILED] * 20


async def test_replies_are_shown_short_without_control_characters_or_keys(ledger: Ledger) -> None:
    keep_key("sk-proj-a1B2c3D4e5F6g7H8")
    replies = iter([f"\x1b[2Jthe key is sk-proj-a1B2c3D4e5F6g7H8 {'x' * 900} {n}" for n in range(99)])
    found = await rate(judge_of(ScriptedTeacher(lambda _: next(replies), concurrency=1), ledger), 40)
    message = str(next(each for each in found if isinstance(each, RunError)))
    assert "\x1b" not in message
    assert "a1B2c3D4e5F6" not in message
    assert r"x1b[2Jthe key" in message
    assert len(message) < 1_600
