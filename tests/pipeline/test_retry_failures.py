"""`stillroom run --retry failures`: what failed is asked again, only that, and what was answered stays on record."""

from __future__ import annotations

import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stillroom.errors import InputError, RunError
from stillroom.pipeline.flows.run import run
from stillroom.pipeline.run.progress import Display
from tests.conftest import Body, ModelServer, Reply, served_by, stillroom, sum_answer, write_sums
from tests.pipeline.test_preferences import llm_judge, rating, write_prompts
from tests.pipeline.test_verifier_runs import knows, write_recipe

MUMBLING = "A fine text."
FAILURES = ("--retry", "failures")


def asked_of(server: ModelServer) -> int:
    """How many requests came since this was last asked."""
    count = len(server.bodies)
    server.bodies.clear()
    return count


def texts(out: Path) -> list[str]:
    """All answers in the ledger, as they were written."""
    with sqlite3.connect(out / "ledger.sqlite") as db:
        return [row[0] for row in db.execute("SELECT text FROM attempts ORDER BY id")]


class Shown:
    """A display whose text can be read."""

    def __init__(self) -> None:
        self._out = io.StringIO()
        self.display = Display(Console(file=self._out, width=200))

    @property
    def text(self) -> str:
        return " ".join(self._out.getvalue().split())


def started(recipe: Path, out: Path, **more: Any) -> str:
    """What a run says."""
    shown = Shown()
    run(recipe, out=out, display=shown.display, **more)
    return shown.text


def mumbles(body: Body, about: tuple[str, ...] = ("What can I say",)) -> str:
    """A judge that gives no verdict on some of the candidates."""
    asked = body["messages"][0]["content"]
    return MUMBLING if any(each in asked for each in about) else rating(body)


def judged(folder: Path, server: ModelServer, **more: Any) -> Path:
    judge = llm_judge(server, logprobs=False, max_unread=None, **more)
    return write_prompts(folder, judge=judge)


def test_judgements_are_asked_again_and_only_those_that_failed(tmp_path: Path, model_server: ModelServer) -> None:
    recipe, out = judged(tmp_path, model_server), tmp_path / "run"
    model_server.script = mumbles
    started(recipe, out)
    assert asked_of(model_server) == 36 + 12  # each that could not be read was asked once more
    started(recipe, out)
    assert asked_of(model_server) == 0
    before = texts(out)

    model_server.script = lambda body: mumbles(body, ("What can I say of a boat",))
    said = started(recipe, out, retry="failures")
    assert "12 failures (judging) will be asked again" in said
    assert asked_of(model_server) == 12 + 1  # the one that fails again is asked once more, as it always is
    assert texts(out)[: len(before)] == before
    assert "35 ok, 1 parse failed" in said

    said = started(recipe, out, retry="failures")
    assert "1 failure (judging) will be asked again" in said
    assert asked_of(model_server) == 2
    assert "35 ok, 1 parse failed" in started(recipe, out)
    assert asked_of(model_server) == 0

    model_server.script = rating
    assert "36 ok" in started(recipe, out, retry="failures")
    assert asked_of(model_server) == 1
    said = started(recipe, out, retry="failures")
    assert "no failures on record (judging): nothing is asked again" in said
    assert asked_of(model_server) == 0


def test_lost_requests_of_a_judge_count_too(tmp_path: Path, model_server: ModelServer) -> None:
    recipe, out = judged(tmp_path, model_server), tmp_path / "run"
    model_server.script = lambda body: (
        Reply({"error": {"message": "no"}}, 400) if "What can I say" in str(body) else rating(body)
    )
    started(recipe, out)
    asked_of(model_server)
    model_server.script = rating
    said = started(recipe, out, retry="failures")
    assert "12 failures (judging) will be asked again" in said
    assert asked_of(model_server) == 12


def test_what_a_server_does_not_offer_is_not_a_failure(tmp_path: Path, model_server: ModelServer) -> None:
    """It is asked with log-probabilities first, which are refused: the replies on record are those without."""
    judge = llm_judge(model_server, max_unread=None)
    recipe, out = write_prompts(tmp_path, judge=judge), tmp_path / "run"
    refused = Reply({"error": {"message": "logprobs are off"}}, 400)
    model_server.script = lambda body: refused if body.get("logprobs") else mumbles(body)
    started(recipe, out)
    asked_of(model_server)
    model_server.script = lambda body: refused if body.get("logprobs") else rating(body)
    assert "12 failures (judging) will be asked again" in started(recipe, out, retry="failures")
    assert asked_of(model_server) == 12 + 1  # whether it is refused still
    assert "no failures on record (judging)" in started(recipe, out, retry="failures")


async def test_it_holds_where_an_event_loop_is_running(tmp_path: Path, model_server: ModelServer) -> None:
    recipe, out = judged(tmp_path, model_server), tmp_path / "run"
    model_server.script = mumbles
    started(recipe, out)
    model_server.script = rating
    assert "12 failures (judging) will be asked again" in started(recipe, out, retry="failures")
    assert "asked again" not in started(recipe, out)


def test_a_judge_that_was_stopped_goes_on(tmp_path: Path, model_server: ModelServer) -> None:
    judge = llm_judge(model_server, logprobs=False)
    recipe, out = write_prompts(tmp_path, judge=judge), tmp_path / "run"
    model_server.script = lambda body: MUMBLING
    for asked in (10, 0):
        with pytest.raises(RunError, match=r"10 replies in a row of the judge openai:judge.*A fine text"):
            started(recipe, out)
        assert asked_of(model_server) == asked
    ended = stillroom("run", recipe, "--out", out)
    assert ended.returncode == 1
    assert "could not be read; nothing more is asked" in " ".join(ended.stderr.split())

    model_server.script = rating
    ended = stillroom("run", recipe, "--out", out, *FAILURES)
    assert ended.returncode == 0, ended.stderr
    assert len(model_server.bodies) == 36
    assert texts(out).count(MUMBLING) == 10


def scored(folder: Path, server: ModelServer) -> Path:
    teacher = served_by(server, model="judge", sampling={"temperature": 0})
    judge = {"kind": "llm", "rubric": "helpfulness", "logprobs": False, "max_unread": None, "teacher": teacher}
    scorer = {"kind": "judge", "accept": 3, "judge": judge}
    keep = {"policy": "fixed", "attempts": 2}
    return write_sums(folder, tasks=6, draws=2, scorer=scorer, keep=keep, filters=["finished"])


def test_verdicts_of_a_judge_that_scores_are_asked_again(tmp_path: Path, model_server: ModelServer) -> None:
    recipe, out = scored(tmp_path, model_server), tmp_path / "run"
    model_server.script = lambda body: MUMBLING if "What is 2 + 1?" in str(body) else "[[helpfulness: 4]]"
    said = started(recipe, out)
    assert "10 accepted, 0 rejected, 2 unscored" in said
    assert asked_of(model_server) == 12 + 2
    assert "2 unscored" in started(recipe, out)
    assert asked_of(model_server) == 0

    model_server.script = lambda body: "[[helpfulness: 4]]"
    said = started(recipe, out, retry="failures")
    assert "2 failures (sampling) will be asked again" in said
    assert "12 accepted, 0 rejected, 0 unscored" in said
    assert asked_of(model_server) == 2
    assert texts(out).count(MUMBLING) == 4
    assert "no failures on record (sampling)" in started(recipe, out, retry="failures")
    assert asked_of(model_server) == 0


def test_a_verifier_is_asked_again(tmp_path: Path, model_server: ModelServer) -> None:
    recipe, out = write_recipe(tmp_path, model_server), tmp_path / "run"
    model_server.script = lambda body: MUMBLING if "number 3?" in str(body) else knows(body)
    assert "5 rejected (5 by the verifier), 1 unscored" in started(recipe, out)
    asked_of(model_server)
    model_server.script = knows
    said = started(recipe, out, retry="failures")
    assert "1 failure (sampling) will be asked again" in said
    assert "6 rejected (6 by the verifier), 0 unscored" in said
    assert asked_of(model_server) == 2  # once in each order


def test_draws_that_were_lost_are_asked_again_where_a_task_is_not_satisfied(
    tmp_path: Path, model_server: ModelServer
) -> None:
    """Four draws, two to keep; the first draw of each task is lost."""
    keep = {"per_task": 2, "max_attempts": 2, "max_unscored": 2}
    recipe = write_sums(tmp_path, tasks=4, teacher=served_by(model_server, concurrency=1), keep=keep)
    out, seen = tmp_path / "run", set[str]()

    def script(body: Body) -> str | Reply:
        question = body["messages"][-1]["content"]
        if question not in seen:
            seen.add(question)
            return Reply({"error": {"message": "no"}}, 400)
        return sum_answer(question, 0 if question == "What is 2 + 1?" else 3)  # right for one task, else wrong

    model_server.script = script
    started(recipe, out)
    assert asked_of(model_server) == 4 * 3
    started(recipe, out)
    assert asked_of(model_server) == 0

    said = started(recipe, out, retry="failures")
    assert "3 failures (sampling) will be asked again" in said  # the task that has its two asks for nothing
    assert asked_of(model_server) == 3
    said = started(recipe, out, retry="failures")
    assert "no failures on record (sampling): nothing is asked again" in said
    assert asked_of(model_server) == 0


def test_another_word_is_refused(tmp_path: Path) -> None:
    recipe = write_sums(tmp_path, tasks=2)
    with pytest.raises(InputError, match="retry is 'everything': give failures, or leave it out"):
        run(recipe, out=tmp_path / "run", retry="everything", display=Display(quiet=True))
    ended = stillroom("run", recipe, "--out", tmp_path / "run", "--retry", "everything")
    assert ended.returncode == 2


def test_a_run_without_failures_is_as_it_was(tmp_path: Path) -> None:
    recipe, out = write_sums(tmp_path, tasks=3), tmp_path / "run"
    started(recipe, out)
    before = (out / "sft" / "train.parquet").read_bytes()
    assert "no failures on record (sampling)" in started(recipe, out, retry="failures")
    assert (out / "sft" / "train.parquet").read_bytes() == before
    assert json.loads((out / "run.json").read_text())["name"] == "sums"
