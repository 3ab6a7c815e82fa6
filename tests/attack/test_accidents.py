"""Accidents and misuse: what is done again, what is refused, and that a finished command stays finished."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import RequestFailed
from stillroom.recipes.display import Display
from stillroom.recipes.plan import Plan
from stillroom.recipes.runner import run
from stillroom.recipes.status import status
from stillroom.sampling.core import Core
from stillroom.sampling.draws import MAX_FAILED_DRAWS
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.limits import Prices
from stillroom.sampling.policy import Budget, Fixed, Policy, Until
from stillroom.sampling.records import (
    Attempt,
    Completion,
    Outcome,
    Request,
    SamplingParams,
    State,
    Task,
    Verdict,
    user,
)
from stillroom.sampling.retry import RetrySettings
from stillroom.sampling.teachers.scripted import ScriptedTeacher
from tests.conftest import ModelServer, served_by, sums_until, write_sums

QUIET = Display(quiet=True)
ONCE = RetrySettings(attempts=1, base_s=0)
PRICES = Prices(prompt=1000, completion=1000)


# -- a finished command, run again and again ------------------------------------------------------------------------


class Grader:
    """Accepts `right`, rejects `wrong`; anything else is unscored."""

    identity = "grader"

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        state = {"right": State.ACCEPTED, "wrong": State.REJECTED}.get(attempt.text, State.UNSCORED)
        return Verdict(state, attempt.text)

    async def close(self) -> None:
        """Nothing to free."""


POLICIES: tuple[Callable[[dict[str, Any]], Policy], ...] = (
    lambda more: Until(per_task=2, max_attempts=5, **more),
    lambda more: Until(per_task=1, max_attempts=6, give_up_after=3, **more),
    lambda more: Until(per_task=3, max_attempts=8, give_up_below=0.2, **more),
    lambda more: Fixed(policy="fixed", attempts=4, per_task=2, **more),
    lambda more: Budget(policy="budget", tokens=400, per_task=2, max_attempts=5, **more),
    lambda more: Budget(policy="budget", tokens=60, per_task=2, max_attempts=5, **more),
    lambda more: Budget(policy="budget", tokens=700, spend="difficulty", max_attempts=6, **more),
    lambda more: Budget(policy="budget", usd=0.5, per_task=3, max_attempts=5, **more),
)
MORE: tuple[dict[str, Any], ...] = ({}, {"order": "arrival"}, {"max_unscored": 2}, {"escalate": (8, 64)})


def mixed(seed: int, failing: float) -> Callable[[Request], Completion]:
    """Answers of all sorts, which depend on the draw and the limit alone; a share of the draws fails for good."""

    def answer(request: Request) -> Completion:
        dice = random.Random(f"{seed}:{request.task_id}:{request.index}")
        if dice.random() < failing:
            raise RequestFailed("no", retryable=False)
        text = dice.choices(("right", "wrong", "odd"), (3, 4, 1))[0]
        tokens = dice.randint(1, 30)
        limit = request.sampling.max_tokens
        return Completion(text, "stop" if tokens <= limit else "length", 3, min(tokens, limit))

    return answer


def waiting(seed: int) -> Callable[[Request], float]:
    """Milliseconds that differ from draw to draw, so that answers overtake each other."""
    return lambda request: random.Random(f"wait:{seed}:{request.task_id}:{request.index}").random() / 500


async def called(folder: Path, teacher: ScriptedTeacher, policy: Policy, n: int) -> tuple[dict[str, Any], Core]:
    """One call of the command: how each task ended, and what was counted."""
    found: dict[str, Outcome] = {}
    tasks = [Task(str(i), user(f"question {i}"), "1", "test") for i in range(n)]
    with Ledger.open(folder) as ledger:
        core = Core(teacher, Grader(), policy, ledger, sampling=SamplingParams(), seed=0, retry=ONCE, prices=PRICES)
        await core.run(tasks, lambda outcome: found.update({outcome.task.id: outcome}))
    assert len(found) == n
    ended = {i: (o.kept, o.stop, [s.attempt.index for s in o.attempts], o.failed) for i, o in found.items()}
    return ended, core


@pytest.mark.parametrize(("number", "more"), [*itertools.product(range(len(POLICIES)), range(len(MORE)))])
async def test_a_finished_command_stays_finished_under_every_policy(tmp_path: Path, number: int, more: int) -> None:
    """Three calls more: the same outcomes, no request, and so nothing spent; though draws had failed. Only a task that
    was given up because nobody answered is asked for again."""
    policy = POLICIES[number](MORE[more])
    for seed, slots, failing in ((1, 1, 0.0), (2, 5, 0.0), (3, 3, 0.12)):
        folder = tmp_path / str(seed)
        teacher = ScriptedTeacher(mixed(seed, failing), concurrency=slots, latency_s=waiting(seed))
        first, _ = await called(folder, teacher, policy, 12)
        given_up = {task for task, ended in first.items() if ended[-1] >= MAX_FAILED_DRAWS}
        for _ in range(3):
            again = ScriptedTeacher(mixed(seed, failing), concurrency=slots)
            ended, _ = await called(folder, again, policy, 12)
            assert all(ended[task][:-1] == first[task][:-1] for task in first.keys() - given_up)
            assert {request.task_id for request in again.calls} <= given_up


KEEPS: tuple[dict[str, Any], ...] = (
    {"per_task": 2, "max_attempts": 4},
    {"policy": "fixed", "attempts": 3},
    {"policy": "budget", "tokens": 60, "per_task": 2},
    {"policy": "budget", "tokens": 10_000, "per_task": 2, "max_attempts": 6},
    {"policy": "budget", "usd": 0.3, "spend": "difficulty"},
)


def rows_of(folder: Path) -> dict[str, bytes]:
    """What a run wrote for a student, byte for byte."""
    return {path.name: path.read_bytes() for path in sorted((folder / "sft").rglob("*")) if path.is_file()}


@pytest.mark.parametrize("keep", KEEPS, ids=lambda keep: "-".join(map(str, keep.values())))
def test_the_rows_of_a_finished_run_never_change_and_nobody_is_asked(
    tmp_path: Path, model_server: ModelServer, keep: dict[str, Any]
) -> None:
    model_server.script = sums_until(model_server, 10_000)
    prices = {"prompt": 1000.0, "completion": 1000.0}
    recipe = write_sums(tmp_path, teacher=served_by(model_server), keep=keep, prices=prices)
    out = tmp_path / "run"
    run(recipe, out=out, display=QUIET)
    asked, rows = len(model_server.bodies), rows_of(out)
    for _ in range(3):
        planned = status(out).plan
        assert isinstance(planned, Plan)
        assert planned.asked == 0
        run(recipe, out=out, display=QUIET)
        assert (len(model_server.bodies), rows_of(out)) == (asked, rows)


def test_a_higher_budget_spends_the_difference(tmp_path: Path, model_server: ModelServer) -> None:
    """Ten tokens are answered at most beyond it, by the requests that were in flight."""
    model_server.script = sums_until(model_server, 10_000)
    teacher, out = served_by(model_server), tmp_path / "run"
    for tokens in (60, 60, 90, 90, 120):
        recipe = write_sums(tmp_path, teacher=teacher, keep={"policy": "budget", "tokens": tokens, "max_attempts": 9})
        run(recipe, out=out, display=QUIET)
        assert tokens <= 3 * len(model_server.bodies) <= tokens + 12
