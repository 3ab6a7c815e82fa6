"""Limits and pilots in whole runs against a server: they stop cleanly, keep what was paid for, and can be gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import Interrupted
from stillroom.pipeline.run.progress import Display
from tests.conftest import ModelServer, served_by, stillroom, sums_until, write_sums
from tests.pipeline.runs import pilot, run

QUIET = Display(quiet=True)
ALL = 10_000
PRICES = {"prompt": 1_000.0, "completion": 1_000.0}  # an answer has 7 + 3 tokens, so it costs one cent


def recipe_of(folder: Path, server: ModelServer, **more: Any) -> Path:
    server.script = sums_until(server, ALL)
    return write_sums(folder, teacher=served_by(server), **more)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"usd": 0.1}, r"\$0\.1\d* spent, limits\.usd is \$0\.10"),
        ({"tokens": 100}, r"1\d\d tokens used, limits\.tokens is 100"),
        ({"minutes": 1e-9}, r"minutes used, limits\.minutes is 1e-09"),
    ],
    ids=["usd", "tokens", "minutes"],
)
def test_a_limit_ends_the_run_and_a_higher_one_goes_on(
    tmp_path: Path, model_server: ModelServer, limits: dict[str, float], said: str
) -> None:
    recipe = recipe_of(tmp_path, model_server, prices=PRICES, limits=limits)
    with pytest.raises(Interrupted, match=said):
        run(recipe, out=tmp_path / "run", display=QUIET)
    paid = len(model_server.bodies)
    assert paid <= 10 + 4  # what a limit allows, and what was in flight
    whole = run(recipe, set=["limits={}"], out=tmp_path / "run", display=QUIET)
    asked = [(body["messages"][-1]["content"], body["seed"]) for body in model_server.bodies]
    assert len(set(asked)) == len(asked)  # nothing was paid for twice
    straight = run(recipe, set=["limits={}"], out=tmp_path / "straight", display=QUIET)
    rows = [(each.folder / "sft" / "train.parquet").read_bytes() for each in (whole, straight)]
    assert rows[0] == rows[1]


def test_the_command_ends_with_exit_code_1_and_says_what_to_do(tmp_path: Path, model_server: ModelServer) -> None:
    recipe = recipe_of(tmp_path, model_server, prices=PRICES, limits={"usd": 0.1})
    ended = stillroom("run", recipe, "--out", tmp_path / "run")
    assert ended.returncode == 1
    assert "limits.usd is $0.10" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_pilot_forecasts_what_the_run_then_takes(tmp_path: Path, model_server: ModelServer) -> None:
    recipe = recipe_of(tmp_path, model_server, tasks=60, prices=PRICES)
    tried = pilot(recipe, out=tmp_path / "run", count=40, display=QUIET)
    paid = len(model_server.bodies)
    whole = run(recipe, out=tmp_path / "run", display=QUIET)
    facts = json.loads((tmp_path / "run" / "run.json").read_text())["sampling"]
    assert facts["reused"] >= paid - facts["cancelled"]
    assert tried.attempts.low <= whole.attempts <= tried.attempts.high
    assert tried.usd is not None
    assert tried.usd.value == pytest.approx(tried.attempts.value / 100)
