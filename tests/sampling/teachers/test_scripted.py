"""The scripted teacher: the fake that tests and demonstrations rely on does what its script says."""

from __future__ import annotations

import asyncio

import pytest

from stillroom.common.records import Completion, Request, SamplingParams, Usage, user
from stillroom.errors import RequestFailed
from stillroom.sampling.teachers.scripted import Fault, ScriptedTeacher


def request(index: int = 0) -> Request:
    return Request("t", index, user("what is two and two?"), SamplingParams(), 0)


async def test_answers_with_a_text_and_counts_words() -> None:
    teacher, usage = ScriptedTeacher(lambda r: f"answer {r.index} !"), Usage()
    assert await teacher.sample(request(3), usage) == Completion("answer 3 !", "stop", 5, 3)
    assert usage.prompt_tokens == 5
    assert teacher.calls == [request(3)]


async def test_answers_with_a_whole_completion() -> None:
    answer = Completion("4", "length", 1, 2, reasoning="two")
    assert await ScriptedTeacher(lambda r: answer).sample(request(), Usage()) is answer


async def test_fails_every_nth_call() -> None:
    teacher = ScriptedTeacher(lambda r: "4", faults=[Fault(3, RequestFailed("HTTP 500", retryable=True))])
    seen = [await _outcome(teacher) for _ in range(7)]
    assert seen == ["4", "4", "HTTP 500", "4", "4", "HTTP 500", "4"]


async def _outcome(teacher: ScriptedTeacher) -> str:
    try:
        return (await teacher.sample(request(), Usage())).text
    except RequestFailed as error:
        return str(error)


async def test_shorter_latencies_answer_first() -> None:
    teacher = ScriptedTeacher(lambda r: str(r.index), latency_s=lambda r: 0.02 if r.index == 0 else 0.0)
    arrived: list[str] = []

    async def ask(index: int) -> None:
        arrived.append((await teacher.sample(request(index), Usage())).text)

    await asyncio.gather(ask(0), ask(1))
    assert arrived == ["1", "0"]
    assert teacher.peak == 2


async def test_remembers_what_was_cancelled() -> None:
    teacher = ScriptedTeacher(lambda r: "4", latency_s=lambda r: 60.0)
    usage = Usage()
    asking = asyncio.create_task(teacher.sample(request(), usage))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert teacher.cancelled == [request()]
    assert usage == Usage(5, 0)


async def test_has_the_identity_and_slots_it_was_given() -> None:
    teacher = ScriptedTeacher(lambda r: "4", concurrency=3, identity="fake:1")
    assert (teacher.identity, teacher.concurrency) == ("fake:1", 3)
    await teacher.close()
