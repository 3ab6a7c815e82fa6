"""A pilot forecasts the whole run, and its attempts count for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stillroom.common.records import Attempt, Outcome, ScoredAttempt, State, StopReason, Task, Verdict, user
from stillroom.errors import InputError
from stillroom.pipeline.planning.forecast import choose, forecast
from stillroom.pipeline.run.progress import Display
from stillroom.sampling.limits import Prices
from tests.conftest import stillroom, write_sums
from tests.pipeline.runs import pilot, run

QUIET = Display(quiet=True)


def outcome(number: int, attempts: int, accepted: bool) -> Outcome:
    task = Task(str(number), user("?"), "4", "test")
    state = State.ACCEPTED if accepted else State.REJECTED
    scored = tuple(
        ScoredAttempt(Attempt("t", k, "4", None, "stop", 10, 90, None, 2.0, "m"), Verdict(state, "x"))
        for k in range(attempts)
    )
    stop = StopReason.SATISFIED if accepted else StopReason.EXHAUSTED
    return Outcome(task, scored, (0,) if accepted else (), stop)


def test_totals_scale_with_the_tasks_and_lie_within_their_intervals() -> None:
    outcomes = [outcome(k, 1 + k % 4, k % 2 == 0) for k in range(40)]
    found = forecast(Path("run"), outcomes, 400, slots=8, prices=Prices(prompt=1, completion=10), seed=0)
    assert found.attempts.value == 1_000
    assert found.tokens.value == 100_000
    assert found.seconds.value == pytest.approx(1_000 * 2.0 / 8)
    assert found.kept.value == 200
    assert found.usd is not None
    assert found.usd.value == pytest.approx((1_000 * 10 * 1 + 1_000 * 90 * 10) / 1e6)
    assert found.coverage.value == 0.5
    for each in (found.attempts, found.tokens, found.seconds, found.kept, found.coverage, found.usd):
        assert each.low < each.value < each.high


def test_the_same_pilot_says_the_same() -> None:
    outcomes = [outcome(k, 1 + k % 3, True) for k in range(10)]
    one, other = (forecast(Path("run"), outcomes, 50, 1, None, seed=3) for _ in range(2))
    assert one == other


def test_tasks_are_chosen_by_the_seed_and_kept_in_order() -> None:
    tasks = [Task(str(k), user("?"), "4", "test") for k in range(100)]
    chosen = [int(task.id) for task in choose(tasks, 10, seed=1)]
    assert chosen == sorted(chosen)
    assert chosen != [int(task.id) for task in choose(tasks, 10, seed=2)]
    assert len(choose(tasks, 1_000, seed=1)) == 100


def test_a_pilot_of_one_has_no_interval() -> None:
    with pytest.raises(InputError, match="--pilot is 1"):
        choose([], 1, seed=0)


def test_what_the_pilot_drew_is_not_drawn_again(tmp_path: Path) -> None:
    recipe = write_sums(tmp_path)
    tried = pilot(recipe, out=tmp_path / "run", count=5, display=QUIET)
    assert tried.pilot_tasks == 5
    assert tried.tasks > 5
    whole = run(recipe, out=tmp_path / "run", display=QUIET)
    straight = run(recipe, out=tmp_path / "straight", display=QUIET)
    rows = [(each.folder / "sft" / "train.parquet").read_bytes() for each in (whole, straight)]
    assert rows[0] == rows[1]
    reused = json.loads((tmp_path / "run" / "run.json").read_text())["sampling"]["reused"]
    assert reused >= 5


def test_the_command_prints_a_table_and_json(tmp_path: Path) -> None:
    recipe = write_sums(tmp_path)
    said = stillroom("run", recipe, "--out", tmp_path / "run", "--pilot", "5")
    assert said.returncode == 0, said.stderr
    assert "tasks satisfied" in said.stdout
    told = json.loads(stillroom("run", recipe, "--out", tmp_path / "run", "--pilot", "5", "--json").stdout)
    assert told["tokens"]["low"] <= told["tokens"]["value"] <= told["tokens"]["high"]
