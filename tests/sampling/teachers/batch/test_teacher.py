"""The batch teacher through the core, against a server that loses, doubles, shuffles and expires."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stillroom.common.records import Attempt, SamplingParams, Task, user
from stillroom.errors import InputError, Interrupted, MissingKey, RunError, StillroomError, TeacherDown
from stillroom.sampling.core import Core
from stillroom.sampling.fake_server.batches import BatchFaults
from stillroom.sampling.fake_server.exchange import Reply, error
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.limits import Limits, Prices
from stillroom.sampling.policy import Budget, Fixed, Until
from stillroom.sampling.requests import Asker
from stillroom.sampling.teachers.openai import OpenAISettings
from tests.sampling.teachers.batch.trying import TASKS, Accepts, Desk, Tried, run_core, settings, tasks

SUMS = {f"{i}/0": f"{i + 40}" for i in range(TASKS)}


async def run(folder: Path, desk: Desk, batch: dict[str, Any] | bool = True, **how: Any) -> Tried:
    return await run_core(folder, settings(desk.url, batch).make(folder), **how)


def right(tried: Tried) -> bool:
    return {name: text.rpartition("#### ")[2] for name, text in tried.texts.items()} == SUMS


async def test_every_task_is_answered_in_one_batch(tmp_path: Path) -> None:
    async with Desk() as desk:
        tried = await run(tmp_path, desk)
    assert tried.error is None
    assert right(tried)
    assert (desk.batches.created, tried.counts.waves, tried.counts.wave) == (1, 1, TASKS)
    assert tried.counts.completion_tokens > 0
    assert tried.counts.cancelled == 0


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        (BatchFaults(shuffled=True), (0, 0, 0)),
        (BatchFaults(expired=0.3), (0, 0, 0)),
        (BatchFaults(failed=0.3), (0, 0, 0)),
        (BatchFaults(lost=0.3), (0, 0, 0)),
        (BatchFaults(twice=1.0), (0, TASKS, 0)),
        (BatchFaults(unknown=3), (3, 0, 0)),
        (BatchFaults(too_many=4), (0, 0, 0)),
    ],
)
async def test_a_fault_costs_no_task_its_answer_and_nothing_is_paid_twice(
    tmp_path: Path, faults: BatchFaults, told: tuple[int, int, int]
) -> None:
    async with Desk(faults) as desk:
        tried = await run(tmp_path, desk)
    counts = tried.counts
    assert tried.error is None
    assert right(tried)
    assert desk.paid_twice == []
    assert len(desk.batches.paid) == TASKS
    assert (counts.lines_unknown, counts.lines_twice, counts.lines_unread) == told
    assert (
        desk.batches.created
        == counts.waves
        == (1 if not faults.expired + faults.failed + faults.lost else counts.waves)
    )


async def test_a_line_that_cannot_be_read_is_counted_and_asked_again(tmp_path: Path) -> None:
    async with Desk(BatchFaults(torn=0.3)) as desk:
        tried = await run(tmp_path, desk)
    assert tried.error is None
    assert right(tried)
    assert tried.counts.lines_unread > 0


async def test_a_line_that_always_fails_is_a_failed_request_and_the_rest_goes_on(tmp_path: Path) -> None:
    async with Desk(BatchFaults(failed=1.0)) as desk:
        teacher = settings(desk.url, retry={"attempts": 2, "base_s": 0.001}).make(tmp_path)
        tried = await run_core(tmp_path, teacher, given=tasks(3))
    assert isinstance(tried.error, TeacherDown) or tried.counts.failed == 9
    assert "The server had an error" in tried.counts.last_failure
    assert desk.batches.paid == {}


async def test_drawing_goes_in_waves_of_what_each_task_needs(tmp_path: Path) -> None:
    def third(attempt: Attempt) -> bool:
        return attempt.index == 2

    async with Desk() as desk:
        tried = await run(tmp_path, desk, scorer=Accepts(third))
    assert {o.kept for o in tried.outcomes} == {(2,)}
    assert (tried.counts.waves, desk.batches.created, tried.counts.overdraw) == (3, 3, 0.0)
    assert len(desk.batches.paid) == 3 * TASKS


async def test_drawing_ahead_takes_fewer_waves_and_says_what_it_is_expected_to_waste(tmp_path: Path) -> None:
    async with Desk() as desk:
        tried = await run(tmp_path, desk, {"in_flight": 2 * TASKS}, ahead=True)
    # Each task needs one draw and is given two, at a pass rate of one half: half of the second ones are for nothing.
    assert tried.counts.waves == 1
    assert tried.counts.overdraw == pytest.approx(TASKS * 0.5, abs=0.1)
    assert len(desk.batches.paid) == 2 * TASKS
    assert tried.counts.cancelled == 0
    assert len(tried.texts) == 2 * TASKS  # what was paid for is on record, needed or not


async def test_files_hold_no_more_than_is_allowed(tmp_path: Path) -> None:
    async with Desk() as desk:
        tried = await run(tmp_path, desk, {"requests": 15})
    sizes = [path.read_text().count("\n") for path in sorted((tmp_path / "batches").glob("*.requests.jsonl"))]
    assert tried.error is None
    assert right(tried)
    assert sizes == [15, 15, 10]


async def test_a_run_may_change_between_both_ways_and_pays_for_nothing_twice(tmp_path: Path) -> None:
    async with Desk() as desk:
        first = await run(tmp_path, desk, given=tasks(20))
        live = await run(tmp_path, desk, False)
        again = await run(tmp_path, desk)
    assert [t.error for t in (first, live, again)] == [None] * 3
    assert right(again)
    assert len(desk.batches.paid) == 20
    assert desk.server.asked == 20
    assert (live.counts.reused, again.counts.reused) == (20, TASKS)


async def test_refusing_max_tokens_is_learned_from_the_lines(tmp_path: Path) -> None:
    async with Desk() as desk:
        desk.batches._answer = lambda body: (
            {"error": {"message": "'max_tokens' is not supported. Use 'max_completion_tokens' instead.", "code": 400}}
            if "max_tokens" in body
            else {"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}]}
        )
        tried = await run(tmp_path, desk, given=tasks(3))
    assert tried.error is None
    assert len(tried.texts) == 3
    assert desk.batches.created == 2


# -- limits ------------------------------------------------------------------------------------------------------------


async def test_no_wave_is_sent_that_would_pass_a_limit(tmp_path: Path) -> None:
    async with Desk() as desk:
        tried = await run(tmp_path, desk, limits=Limits(tokens=500))
    assert isinstance(tried.error, Interrupted)
    assert "limits.tokens is 500" in str(tried.error)
    # About 105 tokens a request are expected at first (5 of the prompt, 100 of the answer), then what they really take.
    assert 450 < tried.counts.tokens < 525
    assert tried.counts.waves > 1


async def test_a_budget_is_not_overspent_by_a_wave(tmp_path: Path) -> None:
    policy = Budget(policy="budget", tokens=300, per_task=1)
    async with Desk() as desk:
        tried = await run(tmp_path, desk, policy=policy)
    assert tried.error is None
    assert 200 < tried.counts.completion_tokens < 330


async def test_prices_are_counted_as_they_are_given(tmp_path: Path) -> None:
    prices = Prices(prompt=1.0, completion=2.0)
    async with Desk() as desk:
        tried = await run(tmp_path, desk, limits=Limits(usd=0.0005), prices=prices)
    assert "limits.usd" in str(tried.error)
    assert 0.00045 < prices.usd(tried.counts) < 0.00054


# -- killed at any moment ----------------------------------------------------------------------------------------------


async def killed_at(folder: Path, desk: Desk, patch: pytest.MonkeyPatch, where: str, after: bool) -> None:
    """A call of a run that ends before or after a step, as if the process had been killed there."""
    from stillroom.sampling.teachers.openai.batch.files import Batch, BatchFiles
    from stillroom.sampling.teachers.openai.batch.remote import Remote

    owner: Any = {"write": BatchFiles, "finish": BatchFiles, "note": Batch}.get(where, Remote)
    step = getattr(owner, where)
    reached = asyncio.Event()

    def stuck() -> None:
        reached.set()
        raise asyncio.CancelledError

    async def slow(*given: Any, **more: Any) -> Any:
        if not after:
            stuck()
        found = await step(*given, **more)
        stuck()
        return found

    def quick(*given: Any, **more: Any) -> Any:
        if not after:
            stuck()
        found = step(*given, **more)
        stuck()
        return found

    with patch.context() as patched:
        patched.setattr(owner, where, slow if owner is Remote else quick)
        call = asyncio.ensure_future(run(folder, desk))
        done = asyncio.ensure_future(reached.wait())
        await asyncio.wait([call, done], return_when=asyncio.FIRST_COMPLETED)
        done.cancel()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("where", ["write", "upload", "create", "note", "look", "fetch", "finish"])
async def test_killed_around_any_step_nothing_is_lost_and_nothing_bought_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, after: bool
) -> None:
    async with Desk(BatchFaults(expired=0.1, twice=0.1, shuffled=True)) as desk:
        await killed_at(tmp_path, desk, monkeypatch, where, after)
        tried = await run(tmp_path, desk)
    assert tried.error is None
    assert right(tried)
    assert desk.paid_twice == []
    assert len(desk.batches.paid) == TASKS


async def test_a_batch_whose_creation_got_no_reply_is_found_again(tmp_path: Path) -> None:
    async with Desk(BatchFaults(mute=1)) as desk:
        tried = await run(tmp_path, desk)
    assert tried.error is None
    assert right(tried)
    assert desk.batches.created == 1
    assert desk.paid_twice == []


async def test_stopping_waits_for_no_batch_and_the_next_call_fetches_it(tmp_path: Path) -> None:
    async def stop(core: Core) -> None:
        while not core.counts.waves:  # noqa: ASYNC110 - a count has no event
            await asyncio.sleep(0)
        core.stop_drawing()

    async with Desk(BatchFaults(looks=10**9)) as desk:
        tried = await run(tmp_path, desk, watch=stop)
        assert isinstance(tried.error, Interrupted)
        assert "40 requests are in batches" in str(tried.error)
        assert tried.counts.cancelled == 0
        desk.batches.faults = BatchFaults(looks=1)
        again = await run(tmp_path, desk)
    assert again.error is None
    assert right(again)
    assert desk.batches.created == 1
    assert desk.paid_twice == []


# -- what cannot go on -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "kind", "pattern"),
    [
        ("Enqueued token limit reached", TeacherDown, "lower teacher.batch.requests"),
        ("The model is not available for the Batch API", InputError, "correct the recipe's teacher"),
    ],
)
async def test_a_batch_refused_as_a_whole_ends_the_run_and_is_sent_again_by_the_next(
    tmp_path: Path, said: str, kind: type[StillroomError], pattern: str
) -> None:
    async with Desk(BatchFaults(refuses=said)) as desk:
        tried = await run(tmp_path, desk)
        assert isinstance(tried.error, kind)
        assert said in str(tried.error)
        assert pattern in str(tried.error)
        desk.batches.faults = BatchFaults()
        again = await run(tmp_path, desk)
    assert again.error is None
    assert right(again)
    assert desk.paid_twice == []


def refusing(desk: Desk, refuses: Callable[[str, str], int]) -> None:
    """Has a server reply with a status where `refuses` names one, by method and path; 0 for none."""
    reply = desk.batches.reply

    def replied(method: str, path: str, rest: str, *more: Any) -> Reply:
        status = refuses(method, f"{path}/{rest}")
        return error(status, "not here") if status else reply(method, path, rest, *more)

    vars(desk.batches)["reply"] = replied


@pytest.mark.parametrize(
    ("status", "kind", "pattern"),
    [
        (404, InputError, r"has no batch API.*teacher\.batch: false"),
        (405, InputError, "has no batch API"),
        (401, MissingKey, "the key was refused"),
        (402, TeacherDown, "quota is used up"),
        (400, TeacherDown, "not here.*run the same command again"),
    ],
)
async def test_a_server_that_takes_no_batch_ends_the_run_with_what_to_do(
    tmp_path: Path, status: int, kind: type[StillroomError], pattern: str
) -> None:
    async with Desk() as desk:
        refusing(desk, lambda method, path: status)
        tried = await run(tmp_path, desk)
        assert isinstance(tried.error, kind)
        assert re.search(pattern, str(tried.error))
        del vars(desk.batches)["reply"]
        again = await run(tmp_path, desk)
    assert again.error is None
    assert right(again)
    assert desk.paid_twice == []


async def test_a_server_that_is_away_for_a_while_is_waited_for(tmp_path: Path) -> None:
    looks = 0

    def away(method: str, path: str) -> int:
        nonlocal looks
        looks += path.startswith("batches/batch")
        return 503 if path.startswith("batches/batch") and looks < 10 else 0

    async with Desk() as desk:
        refusing(desk, away)
        tried = await run(tmp_path, desk)
    assert tried.error is None
    assert right(tried)
    assert desk.batches.created == 1


async def test_a_damaged_record_is_refused_since_its_requests_may_be_paid_for(tmp_path: Path) -> None:
    async with Desk() as desk:
        await run(tmp_path, desk, given=tasks(3))
        [record] = (tmp_path / "batches").glob("b*[0-9a-f].json")
        record.write_text('{"state": "se')
        tried = await run(tmp_path, desk)
    assert isinstance(tried.error, RunError)
    assert "is damaged" in str(tried.error)


def files_with(folder: Path, text: str) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


async def test_no_key_is_written_next_to_the_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-proj-a1B2c3D4e5F6g7H8"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    async with Desk() as desk:
        desk.batches._answer = lambda body: {
            "choices": [{"message": {"content": f"the key is {key}"}, "finish_reason": "stop"}]
        }
        tried = await run(tmp_path, desk, given=tasks(3))
        assert tried.error is None
        assert len(tried.texts) == 3
        assert files_with(tmp_path, key) == []
        asked = await run(tmp_path, desk, given=[Task("k", user(f"My key is {key}."), None, "test")])
    assert isinstance(asked.error, InputError)
    assert key not in str(asked.error)
    assert "teacher.batch: false" in str(asked.error)


@pytest.mark.parametrize(
    ("given", "pattern"),
    [
        ({"batch": True, "stream": True}, "do not come in parts"),
        ({"batch": True, "base_url": ["http://a/v1", "http://b/v1"]}, "with one server"),
        ({"batch": {"requests": 60_000}}, "50000"),
        ({"batch": {"polls": 3}}, "polls"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given: dict[str, Any], pattern: str) -> None:
    with pytest.raises(ValidationError, match=pattern):
        OpenAISettings.model_validate({"kind": "openai", "model": "m", **given})


def test_the_identity_is_that_of_a_teacher_who_asks_at_once(tmp_path: Path) -> None:
    live, batch = (settings("http://localhost:1/v1", each).make(tmp_path) for each in (False, True))
    assert live.identity == batch.identity


def test_without_a_key_or_a_server_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(MissingKey):
        settings(None).make(tmp_path)


async def test_who_asks_one_thing_after_the_other_is_told_not_to_wait_for_hours(tmp_path: Path) -> None:
    teacher = settings("http://localhost:1/v1").make(tmp_path)
    with Ledger.open(tmp_path) as ledger, pytest.raises(InputError, match="set batch: false"):
        Asker(teacher, ledger, SamplingParams(), seed=0)
    await teacher.close()


# -- files without a server --------------------------------------------------------------------------------------------


def answer_files(folder: Path) -> None:
    """What `vllm run-batch` does to each file of requests that has no answers."""
    for path in folder.glob("*.requests.jsonl"):
        output = path.with_name(path.name.replace(".requests.", ".output."))
        if output.exists():
            continue
        lines = []
        for line in path.read_text().splitlines():
            asked = json.loads(line)
            a, b = (int(n) for n in asked["body"]["messages"][-1]["content"][8:-1].split(" + "))
            choice = {"message": {"content": f"It is #### {a + b}"}, "finish_reason": "stop"}
            body = {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 4}}
            lines.append(
                json.dumps({"id": "v", "custom_id": asked["custom_id"], "response": {"body": body}, "error": None})
            )
        output.write_text("\n".join(lines) + "\n")


async def test_a_folder_takes_the_place_of_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    folder, batch = tmp_path / "files", {"dir": "files", "requests": 25}
    first = await run_core(tmp_path / "run", settings(None, batch).make(tmp_path))
    assert isinstance(first.error, Interrupted)
    assert "40 requests wait to be answered, in 2 files" in str(first.error)
    assert str(first.error).count("vllm run-batch -i ") == 2
    assert first.texts == {}
    same = await run_core(tmp_path / "run", settings(None, batch).make(tmp_path))
    assert isinstance(same.error, Interrupted)
    assert len(list(folder.glob("*.requests.jsonl"))) == 2
    answer_files(folder)
    last = await run_core(tmp_path / "run", settings(None, batch).make(tmp_path))
    assert last.error is None
    assert right(last)


async def test_a_folder_is_answered_wave_by_wave(tmp_path: Path) -> None:
    batch, scorer = {"dir": str(tmp_path / "files")}, Accepts(lambda attempt: attempt.index == 1)
    for _ in range(2):
        tried = await run_core(tmp_path / "run", settings(None, batch).make(tmp_path), scorer=scorer)
        assert isinstance(tried.error, Interrupted)
        answer_files(tmp_path / "files")
    tried = await run_core(tmp_path / "run", settings(None, batch).make(tmp_path), scorer=scorer)
    assert tried.error is None
    assert len(tried.texts) == 2 * TASKS


async def test_fixed_draws_are_all_in_the_first_wave(tmp_path: Path) -> None:
    async with Desk() as desk:
        tried = await run(tmp_path, desk, policy=Fixed(policy="fixed", attempts=3), given=tasks(5))
        until = await run(tmp_path, desk, policy=Until(per_task=3, max_attempts=3), given=tasks(5))
    assert tried.counts.waves == 1
    assert tried.counts.wave == 15
    assert until.counts.waves == 0
