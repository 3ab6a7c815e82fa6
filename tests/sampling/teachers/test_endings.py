"""Why an answer ended: one table for servers and recordings, and what becomes of ends that nobody knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stillroom.common.records import (
    Attempt,
    Completion,
    Outcome,
    Request,
    SamplingParams,
    State,
    Task,
    Usage,
    Verdict,
    user,
)
from stillroom.errors import RequestFailed, RunError
from stillroom.sampling.core import Core
from stillroom.sampling.draws import UNKNOWN_ENDS_TO_STOP
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.policy import Until
from stillroom.sampling.teachers.base import RetrySettings, Teacher
from stillroom.sampling.teachers.endings import ending_of
from stillroom.sampling.teachers.openai import OpenAISettings
from stillroom.sampling.teachers.openai.teacher import OpenAITeacher
from stillroom.sampling.teachers.recorded import RecordedSettings, RecordedTeacher
from tests.conftest import ModelServer, Reply, completion

WORDS = {
    "stop": "stop eos eos_token end_turn stop_sequence STOP COMPLETE <|endoftext|> FinishReason.STOP stopSequence done",
    "length": "length max_tokens MAX_TOKENS max-tokens FINISH_REASON_MAX_TOKENS model_length max_output_tokens",
    "content_filter": "content_filter content-filter safety SAFETY RECITATION guardrail_intervened refusal",
    "unknown": "tool_calls tool_use function_call OTHER weird",
}
TABLE = [(word, meaning) for meaning, words in WORDS.items() for word in words.split()]
FAILED = ["error", "ERROR", "abort", "cancelled", "insufficient_system_resource", "timeout"]


def opened(server: ModelServer, **settings: Any) -> OpenAITeacher:
    return OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url=server.url, **settings))


async def asked(server: ModelServer, finish: Any, **settings: Any) -> Completion:
    server.script = lambda body: Reply(completion("4", finish=finish))
    teacher = opened(server, **settings)
    try:
        return await teacher.sample(Request("t", 0, user("2 + 2?"), SamplingParams(), 1), Usage())
    finally:
        await teacher.close()


def recorded(folder: Path, finish: Any, **settings: Any) -> Teacher:
    (folder / "r.jsonl").write_text(json.dumps({"task_id": "t", "text": "4", "finish_reason": finish}) + "\n")
    return RecordedTeacher(RecordedSettings(kind="recorded", path="r.jsonl", **settings), base=folder)


@pytest.mark.parametrize(("word", "meaning"), TABLE)
async def test_servers_words_for_the_end(model_server: ModelServer, word: str, meaning: str) -> None:
    answer = await asked(model_server, word)
    assert (answer.finish_reason, answer.ended) == (meaning, word if meaning == "unknown" else "")


@pytest.mark.parametrize(("word", "meaning"), [row for row in TABLE if row[1] != "unknown"] + [(None, "stop")])
async def test_a_recording_may_use_the_words_of_any_server(tmp_path: Path, word: str | None, meaning: str) -> None:
    answer = await recorded(tmp_path, word).sample(Request("t", 0, user("q"), SamplingParams(), 1), Usage())
    assert answer.finish_reason == meaning


@pytest.mark.parametrize("said", [None, "", "null", {}, {"type": None}])
def test_no_reason_is_called_missing(said: Any) -> None:
    assert ending_of(said) == ("unknown", "missing", False)
    assert ending_of(said, {"missing": "stop"}).reason == "stop"


@pytest.mark.parametrize(
    ("said", "raw"),
    [({"type": "odd"}, "odd"), (3, "int"), (["stop"], "list"), ("x" * 500, "x" * 60), ("a\nb\ud800", "a b\ufffd")],
)
def test_what_is_kept_of_an_unknown_one_is_short_text(said: Any, raw: str) -> None:
    assert ending_of(said) == ("unknown", raw, False)


@pytest.mark.parametrize("word", FAILED)
async def test_half_an_answer_at_a_failure_is_a_failed_request(
    model_server: ModelServer, tmp_path: Path, word: str
) -> None:
    with pytest.raises(RequestFailed, match=f"finish reason '{word}'") as caught:
        await asked(model_server, word)
    assert caught.value.retryable
    with pytest.raises(RequestFailed, match=rf"r.jsonl:1: .*\({word}\)") as drawn:
        await recorded(tmp_path, word).sample(Request("t", 0, user("q"), SamplingParams(), 1), Usage())
    assert not drawn.value.retryable


async def test_a_recipe_says_what_a_word_means(model_server: ModelServer, tmp_path: Path) -> None:
    assert (await asked(model_server, "weird", finish_reasons={"weird": "length"})).finish_reason == "length"
    plain, named = recorded(tmp_path, "stop"), recorded(tmp_path, "stop", finish_reasons={"weird": "stop"})
    assert plain.identity != named.identity  # it reads the file in another way
    # And a server's answers are the same answers: what was paid for still counts.
    assert opened(model_server, finish_reasons={"weird": "stop"}).identity == opened(model_server).identity


class Strict:
    """Rejects whatever is not 5."""

    identity = "strict"

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        return Verdict(State.ACCEPTED if attempt.text == "5" else State.REJECTED, "compared")

    async def close(self) -> None:
        """Nothing to free."""


async def run(folder: Path, teacher: Teacher, tasks: int) -> list[Outcome]:
    outcomes: list[Outcome] = []
    with Ledger.open(folder) as ledger:
        core = Core(
            teacher,
            Strict(),
            Until(per_task=1, max_attempts=1),
            ledger,
            sampling=SamplingParams(),
            seed=0,
            retry=RetrySettings(attempts=2, base_s=0),
        )
        try:
            await core.run((Task(str(i), user(f"q{i}"), None, "test") for i in range(tasks)), outcomes.append)
        finally:
            await teacher.close()
    return outcomes


@pytest.mark.parametrize(
    ("finish", "state", "reason"),
    [
        ("stop", State.REJECTED, "compared"),
        ("max_tokens", State.UNSCORED, "truncated"),
        ("SAFETY", State.UNSCORED, "filtered"),
        ("tool_calls", State.UNSCORED, "unknown_end"),
        (None, State.UNSCORED, "unknown_end"),
    ],
)
async def test_what_was_cut_is_never_rejected(
    model_server: ModelServer, tmp_path: Path, finish: str | None, state: State, reason: str
) -> None:
    model_server.script = lambda body: Reply(completion("4", finish=finish))  # type: ignore[arg-type]
    [outcome] = await run(tmp_path, opened(model_server), 1)
    assert [(s.verdict.state, s.verdict.reason) for s in outcome.attempts] == [(state, reason)]


async def test_a_run_whose_first_answers_end_in_an_unknown_way_stops(
    model_server: ModelServer, tmp_path: Path
) -> None:
    model_server.script = lambda body: Reply(completion("5", finish="weird"))
    with pytest.raises(RunError, match=r"'weird'.*teacher.finish_reasons: \{weird: stop\}"):
        await run(tmp_path, opened(model_server, concurrency=1), 50)
    assert len(model_server.bodies) == UNKNOWN_ENDS_TO_STOP


async def test_one_known_end_among_them_lets_it_go_on(model_server: ModelServer, tmp_path: Path) -> None:
    model_server.script = lambda body: Reply(
        completion("5", finish="stop" if len(model_server.bodies) == UNKNOWN_ENDS_TO_STOP else "weird")
    )
    assert len(await run(tmp_path, opened(model_server, concurrency=1), 30)) == 30
