"""An Asker asks for nothing twice, and leaves nothing unrecorded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.common.hashing import draw_seed
from stillroom.common.records import (
    Attempt,
    Completion,
    Message,
    Messages,
    Request,
    SamplingParams,
    TokenChoice,
    Usage,
    user,
)
from stillroom.errors import InputError, MissingKey, RequestFailed, RunError, TeacherDown
from stillroom.sampling.again import Again
from stillroom.sampling.counts import Counts
from stillroom.sampling.ledger import Ledger, request_key
from stillroom.sampling.requests import FAILURES_IN_A_ROW, Asker
from stillroom.sampling.teachers.base import OutOfAttempts, RetrySettings
from stillroom.sampling.teachers.openai import OpenAISettings
from stillroom.sampling.teachers.openai.teacher import OpenAITeacher
from stillroom.sampling.teachers.scripted import Fault, ScriptedTeacher
from tests.conftest import ModelServer, Reply

AT_ONCE = RetrySettings(attempts=3, base_s=0)
SAMPLING = SamplingParams(temperature=0, max_tokens=8)
FAILED = RequestFailed("HTTP 500", retryable=True)
REFUSED = RequestFailed("HTTP 400", retryable=False)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path) as opened:
        yield opened


class Held:
    """A teacher that answers when it is let go; `started` says when a request has reached it."""

    identity, concurrency = "held", 4

    def __init__(self) -> None:
        self.calls: list[Request] = []
        self.go = asyncio.Event()
        self.started = asyncio.Event()
        self.in_flight = self.peak = 0

    async def sample(self, request: Request, usage: Usage) -> Completion:
        self.calls.append(request)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        self.started.set()
        usage.prompt_tokens, usage.completion_tokens = 7, 2
        try:
            await self.go.wait()
        finally:
            self.in_flight -= 1
        return Completion(request.messages[-1].content.upper(), "stop", 7, 3)

    async def close(self) -> None:
        pass


def asker(teacher: ScriptedTeacher | Held, ledger: Ledger) -> Asker:
    return Asker(teacher, ledger, SAMPLING, seed=7, retry=AT_ONCE)


def echo(request: Request) -> str:
    return request.messages[-1].content


async def turns(count: int = 8) -> None:
    """Lets everything go on that can."""
    for _ in range(count):
        await asyncio.sleep(0)


# -- what is asked, and what is not -----------------------------------------------------------------------------


async def test_an_answer_is_on_record_and_not_asked_for_again(ledger: Ledger) -> None:
    choices = (TokenChoice("4", -0.5, (("4", -0.5), ("5", -1.0))),)
    teacher = ScriptedTeacher(lambda _: Completion("4", "stop", 7, 1, "hm", (-0.5,), choices))
    first = await asker(teacher, ledger).ask(user("rate"), about="t/0")
    assert first == Attempt("t/0", 0, "4", "hm", "stop", 7, 1, (-0.5,), first.latency_s, "scripted", choices)
    later = asker(teacher, ledger)
    assert await later.ask(user("rate"), about="t/0") == first
    assert len(teacher.calls) == 1
    assert (later.counts.reused, later.counts.completion_tokens) == (1, 0)
    key = request_key(user("rate"), SAMPLING, "scripted", 7)
    assert ledger.find(key, 8, "t/0", "")[0].attempt == first


async def test_the_request_is_as_the_core_would_make_it(ledger: Ledger) -> None:
    teacher = ScriptedTeacher(echo)
    await asker(teacher, ledger).ask(user("rate"), about="t/0", index=3)
    assert teacher.calls == [Request("t/0", 3, user("rate"), SAMPLING, draw_seed(7, "t/0", 3))]


@pytest.mark.parametrize(
    ("messages", "index", "sampling", "calls"),
    [
        (user("rate"), 0, None, 1),
        (user("rate"), 0, SAMPLING.model_copy(update={"max_tokens": 99}), 1),  # it ended by itself
        (user("rate"), 0, SAMPLING.model_copy(update={"max_tokens": 1}), 2),
        (user("rate it"), 0, None, 2),
        (user("rate"), 1, None, 2),
        (user("rate"), 0, SAMPLING.model_copy(update={"top_logprobs": 5}), 2),
        (user("rate"), 0, SAMPLING.model_copy(update={"json_schema": "{}"}), 2),
    ],
)
async def test_only_what_changes_the_answer_is_asked_anew(
    ledger: Ledger, messages: Messages, index: int, sampling: SamplingParams | None, calls: int
) -> None:
    teacher = ScriptedTeacher(lambda _: "two words")
    await asker(teacher, ledger).ask(user("rate"), about="a")
    attempt = await asker(teacher, ledger).ask(messages, about="b", index=index, sampling=sampling)
    assert len(teacher.calls) == calls
    assert (attempt.task_id, attempt.index) == ("b", index)


async def test_an_answer_that_was_cut_off_is_asked_for_again_under_another_limit(ledger: Ledger) -> None:
    teacher = ScriptedTeacher(lambda r: Completion("x", "length", 7, r.sampling.max_tokens))
    asking = asker(teacher, ledger)
    longer = SAMPLING.model_copy(update={"max_tokens": 16})
    for params in (SAMPLING, longer, SAMPLING, longer):
        assert (await asking.ask(user("rate"), about="t", sampling=params)).completion_tokens == params.max_tokens
    assert len(teacher.calls) == 2
    assert (asking.counts.truncated, asking.counts.reused, asking.counts.completion_tokens) == (4, 2, 24)


# -- at once ----------------------------------------------------------------------------------------------------


async def test_the_same_asked_twice_at_once_is_one_request(ledger: Ledger) -> None:
    teacher = Held()
    asking = asker(teacher, ledger)
    asked = [asyncio.create_task(asking.ask(user("rate"), about=about)) for about in "aab"]
    await teacher.started.wait()
    asked.append(asyncio.create_task(asking.ask(user("rate"), about="c")))
    await turns()
    teacher.go.set()
    found = await asyncio.gather(*asked)
    assert [(a.task_id, a.text) for a in found] == [("a", "RATE"), ("a", "RATE"), ("b", "RATE"), ("c", "RATE")]
    assert len(teacher.calls) == 1
    assert len(asking._jobs) == 0
    assert (asking.counts.reused, asking.counts.completion_tokens, ledger.totals().attempts) == (3, 3, 1)


async def test_no_more_are_in_flight_than_the_teacher_bears(ledger: Ledger) -> None:
    teacher = Held()
    asking = asker(teacher, ledger)
    asked = [asyncio.create_task(asking.ask(user(f"{n}"), about="t")) for n in range(20)]
    await teacher.started.wait()
    await turns()
    assert (teacher.in_flight, len(asking._jobs)) == (4, 20)
    teacher.go.set()
    assert [a.text for a in await asyncio.gather(*asked)] == [f"{n}" for n in range(20)]
    assert (teacher.peak, len(teacher.calls)) == (4, 20)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.booleans()), max_size=25), st.integers(1, 9))
def test_each_thing_is_asked_once_whatever_the_order(
    tmp_path_factory: pytest.TempPathFactory, asks: list[tuple[str, int, bool]], every: int
) -> None:
    """Asks at once and one after the other, of a teacher that fails now and then."""

    async def go(folder: Path) -> None:
        with Ledger.open(folder) as ledger:
            teacher = ScriptedTeacher(echo, faults=[Fault(every + 1, FAILED)], concurrency=2)
            asking = Asker(teacher, ledger, SAMPLING, seed=7, retry=RetrySettings(attempts=9, base_s=0))
            waiting: list[asyncio.Task[Attempt]] = []
            for text, index, wait in asks:
                waiting.append(asyncio.create_task(asking.ask(user(text), about=text, index=index)))
                if wait:
                    await waiting[-1]
            found = await asyncio.gather(*waiting)
            assert [(a.text, a.index) for a in found] == [(text, index) for text, index, _ in asks]
            assert ledger.totals().attempts == len({ask[:2] for ask in asks})
            assert asking.counts.reused == len(asks) - ledger.totals().attempts
            assert teacher.peak <= 2

    asyncio.run(go(tmp_path_factory.mktemp("run")))


# -- failures ---------------------------------------------------------------------------------------------------


async def test_a_failure_in_passing_is_asked_again(ledger: Ledger) -> None:
    teacher = ScriptedTeacher(echo, faults=[Fault(2, FAILED)])
    asking = asker(teacher, ledger)
    for text in ("a", "b", "c"):
        assert (await asking.ask(user(text), about="t")).text == text
    assert len(teacher.calls) == 5
    assert (asking.counts.failed, ledger.totals().failures) == (0, 0)


@pytest.mark.parametrize(("error", "calls"), [(FAILED, 3), (REFUSED, 1)])
async def test_a_failure_for_good_is_recorded_and_raised_to_all_who_asked(
    ledger: Ledger, error: RequestFailed, calls: int
) -> None:
    teacher = ScriptedTeacher(echo, faults=[Fault(1, error)])
    asking = asker(teacher, ledger)
    asked = [asking.ask(user("rate"), about="t") for _ in range(3)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(each) for each in found] == [str(error)] * 3
    assert all(isinstance(each, RequestFailed) for each in found)
    assert len(teacher.calls) == calls
    assert (asking.counts.failed, asking.counts.last_failure) == (1, str(error))
    assert (ledger.totals().failures, ledger.totals().attempts) == (1, 0)


async def test_what_failed_is_asked_for_again_when_asked_again(ledger: Ledger) -> None:
    teacher = ScriptedTeacher(echo, faults=[Fault(1, REFUSED)])
    with pytest.raises(RequestFailed):
        await asker(teacher, ledger).ask(user("rate"), about="t")
    better = ScriptedTeacher(echo)
    assert (await asker(better, ledger).ask(user("rate"), about="t")).text == "rate"


async def test_a_long_row_of_failures_means_that_nobody_is_there(ledger: Ledger) -> None:
    asking = asker(ScriptedTeacher(echo, faults=[Fault(1, FAILED)]), ledger)
    for number in range(FAILURES_IN_A_ROW - 1):
        with pytest.raises(RequestFailed):
            await asking.ask(user(f"{number}"), about="t")
    with pytest.raises(TeacherDown, match="12 requests in a row"):
        await asking.ask(user("last"), about="t")
    assert ledger.totals().failures == FAILURES_IN_A_ROW


async def test_refusals_among_answers_do_not(ledger: Ledger) -> None:
    def answer(request: Request) -> str:
        if echo(request).isdigit():
            raise REFUSED
        return "fine"

    asking = asker(ScriptedTeacher(answer), ledger)
    await asking.ask(user("hello"), about="t")
    for number in range(2 * FAILURES_IN_A_ROW):
        with pytest.raises(RequestFailed):
            await asking.ask(user(f"{number}"), about="t")


async def test_a_recording_without_the_answer_is_a_failed_request(ledger: Ledger) -> None:
    asking = asker(ScriptedTeacher(echo, faults=[Fault(1, OutOfAttempts())]), ledger)
    with pytest.raises(RequestFailed, match=r"has no draw 2 of 't/0' on record") as caught:
        await asking.ask(user("rate"), about="t/0", index=2)
    assert not caught.value.retryable
    assert ledger.totals().failures == 1


async def test_a_wrong_key_is_raised_as_it_is(ledger: Ledger) -> None:
    asking = asker(ScriptedTeacher(echo, faults=[Fault(1, MissingKey("no key"))]), ledger)
    with pytest.raises(MissingKey):
        await asking.ask(user("rate"), about="t")
    assert ledger.totals().failures == 0


# -- cancelling -------------------------------------------------------------------------------------------------


async def test_a_cancelled_request_stops_and_its_cost_is_recorded(ledger: Ledger) -> None:
    teacher = Held()
    asking = asker(teacher, ledger)
    asked = asyncio.create_task(asking.ask(user("rate"), about="t"))
    await teacher.started.wait()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert (teacher.in_flight, len(asking._jobs)) == (0, 0)
    assert (asking.counts.cancelled, asking.counts.cancelled_tokens) == (1, 2)
    assert (ledger.totals().cancelled, ledger.totals().cancelled_tokens) == (1, 9)


async def test_a_request_goes_on_while_anybody_waits_for_it(ledger: Ledger) -> None:
    teacher = Held()
    asking = asker(teacher, ledger)
    first, second, third = (asyncio.create_task(asking.ask(user("rate"), about="t")) for _ in range(3))
    await teacher.started.wait()
    first.cancel()
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert teacher.in_flight == 1
    teacher.go.set()
    assert (await third).text == "RATE"
    assert (len(teacher.calls), asking.counts.cancelled) == (1, 0)


async def test_whoever_asks_after_all_were_cancelled_asks_anew(ledger: Ledger) -> None:
    teacher = Held()
    asking = asker(teacher, ledger)
    first, second = (asyncio.create_task(asking.ask(user("rate"), about="t")) for _ in range(2))
    await teacher.started.wait()
    first.cancel()
    second.cancel()
    third = asyncio.create_task(asking.ask(user("rate"), about="t"))
    await asyncio.gather(first, second, return_exceptions=True)
    teacher.go.set()
    assert (await third).text == "RATE"
    assert ledger.totals().attempts == 1


async def test_one_that_waits_for_its_turn_costs_nothing_when_cancelled(ledger: Ledger) -> None:
    teacher = Held()
    asking = asker(teacher, ledger)
    asked = [asyncio.create_task(asking.ask(user(f"{n}"), about="t")) for n in range(5)]
    await teacher.started.wait()
    await turns()
    asked[4].cancel()
    teacher.go.set()
    await asyncio.gather(*asked, return_exceptions=True)
    assert (len(teacher.calls), asking.counts.cancelled, len(asking._jobs)) == (4, 0, 0)


async def test_closing_stops_what_is_in_flight_and_says_so(ledger: Ledger) -> None:
    teacher = Held()
    asking = asker(teacher, ledger)
    asked = asyncio.create_task(asking.ask(user("rate"), about="t"))
    await teacher.started.wait()
    await asking.close()
    await asking.close()
    with pytest.raises(RunError, match="closed before it had an answer"):
        await asked
    assert (teacher.in_flight, ledger.totals().cancelled) == (0, 1)


# -- the rest ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "max_tokens", "room"), [(10, 4, 3), (7, 4, 0), (7, 5, -1), (2, 4, -5), (None, 4, None)]
)
def test_room_is_what_prompt_and_answer_leave_free(
    ledger: Ledger, context: int | None, max_tokens: int, room: int | None
) -> None:
    asking = asker(ScriptedTeacher(echo, context=context), ledger)
    messages = (Message("system", "Be brief."), Message("user", "rate"))
    assert asking.room(messages, max_tokens) == room


def test_room_is_not_known_of_a_teacher_that_cannot_count(ledger: Ledger) -> None:
    def refuse(messages: Messages) -> int:
        raise InputError("the model's chat template does not take these messages")

    odd = ScriptedTeacher(echo, context=10)
    odd.count_tokens = refuse  # type: ignore[method-assign]
    assert asker(odd, ledger).room(user("rate"), 4) is None
    assert asker(Held(), ledger).room(user("rate"), 4) is None


def test_counts_may_be_given_and_the_identity_is_the_teachers(ledger: Ledger) -> None:
    counts = Counts()
    asking = Asker(ScriptedTeacher(echo, identity="m"), ledger, SAMPLING, seed=0, counts=counts)
    assert asking.counts is counts
    assert (asking.identity, asking.sampling) == ("m", SAMPLING)


async def test_over_http(ledger: Ledger, model_server: ModelServer) -> None:
    """A server that fails once, then says how sure it is."""
    content = [{"token": "4", "logprob": -0.5, "top_logprobs": [{"token": "4", "logprob": -0.5}]}]
    choice = {"message": {"content": "4"}, "finish_reason": "stop", "logprobs": {"content": content}}
    replies = iter([Reply({"error": {"message": "busy"}}, 503), Reply({"choices": [choice]})])
    model_server.script = lambda _: next(replies)
    params = SamplingParams(temperature=0, max_tokens=1, top_logprobs=20)
    asking = Asker(
        OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url=model_server.url)),
        ledger,
        params,
        seed=0,
        retry=AT_ONCE,
    )
    first = await asking.ask(user("rate"), about="t")
    assert await asking.ask(user("rate"), about="t") == first
    await asking.close()
    assert first.choices == (TokenChoice("4", -0.5, (("4", -0.5),)),)
    assert [body["top_logprobs"] for body in model_server.bodies] == [20, 20]


# -- what is asked again -----------------------------------------------------------------------------------------


async def test_asked_again_it_is_another_draw_and_counts_from_then_on(ledger: Ledger) -> None:
    replies = iter(["hm", "well", "4"])
    teacher = ScriptedTeacher(lambda _: next(replies))
    await asker(teacher, ledger).ask(user("rate"), about="t")
    again = asker(teacher, ledger)
    first = await asyncio.gather(*(again.ask(user("rate"), about="t", again=True) for _ in range(2)))
    assert [attempt.text for attempt in first] == ["well", "well"]
    assert again.is_new(first[0])
    assert (await again.ask(user("rate"), about="t", again=True)).text == "well"  # once in each call of a run
    assert (await asker(teacher, ledger).ask(user("rate"), about="t", again=True)).text == "4"
    assert (await asker(teacher, ledger).ask(user("rate"), about="t")).text == "4"
    assert len({request.seed for request in teacher.calls}) == 3
    key = request_key(user("rate"), SAMPLING, "scripted", 7)
    kept = ledger.find(key, 8, "t", "")
    assert [kept[draw].attempt.text for draw in sorted(kept)] == ["hm", "well", "4"]


async def test_another_draw_of_the_same_request_is_not_the_one_that_was_asked_again(ledger: Ledger) -> None:
    teacher = ScriptedTeacher(lambda request: f"draw {request.index}")
    asking = asker(teacher, ledger)
    assert [(await asking.ask(user("rate"), about="t", index=n)).text for n in (1, 0)] == ["draw 1", "draw 0"]
    later = asker(teacher, ledger)
    assert (await later.ask(user("rate"), about="t", index=1, again=True)).text == "draw 1000001"
    assert (await later.ask(user("rate"), about="t")).text == "draw 0"


async def test_while_failures_are_counted_nobody_is_asked(ledger: Ledger) -> None:
    lost = asker(ScriptedTeacher(echo, faults=[Fault(1, REFUSED)]), ledger)
    with pytest.raises(RequestFailed):
        await lost.ask(user("lost"), about="t")
    teacher, again = ScriptedTeacher(echo), Again()
    asking = Asker(teacher, ledger, SAMPLING, seed=7, retry=AT_ONCE, again=again)
    with again.counting():
        for text in ("lost", "never asked"):
            with pytest.raises(RequestFailed, match="are being counted"):
                await asking.ask(user(text), about="t")
    assert (teacher.calls, again.failures) == ([], 1)
    for text in ("lost", "never asked"):
        assert (await asking.ask(user(text), about="t")).text == text
