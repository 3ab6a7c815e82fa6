"""Why the processes of a training ended, as the user is told it: once, and as what it is."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from bench.train_resume import row
from stillroom import errors
from stillroom.errors import InputError, Interrupted, MissingExtra, NoRoom, StillroomError, TrainingError
from stillroom.sampling.workers.child import descendants
from stillroom.students.methods import processes
from stillroom.students.methods.processes import as_raised
from stillroom.students.methods.sft import Sft

LOST = "[gloo] Connection closed by peer"


def failure(rank: int, code: int) -> str:
    """One process in the words of torch's launcher."""
    return (
        f"  time      : 2026-11-30_20:00:00\n  rank      : {rank} (local_rank: {rank})\n"
        f"  exitcode  : {code} (pid: 4711)\n  error_file: <N/A>\n"
    )


def fault(folder: Path, said: str = "", *, asked: bool = False, **raised: Any) -> StillroomError:
    """What the user is told. `raised`: by the process's number, what it left: (kind, message, seconds)."""
    for rank, (kind, told, at) in raised.items():
        left = {"kind": kind, "told": told, "at": at}
        (folder / f"fault-{rank.removeprefix('r')}.json").write_text(json.dumps(left), encoding="utf-8")
    log, ranks = folder / "log.txt", processes._Launched()
    log.write_text(said, encoding="utf-8")
    ranks.asked = asked
    return processes._fault(folder, log, 2, ranks)


@pytest.mark.parametrize("first", [failure(0, 1), failure(0, -signal.SIGTERM)], ids=["lost_its_peer", "ended_after"])
def test_a_killed_process_is_named_though_another_failed_before_it_was_noticed(first: str, tmp_path: Path) -> None:
    said = f"Failures:\n[1]:\n{failure(1, -signal.SIGKILL)}Root Cause (first observed failure):\n[0]:\n{first}"
    found = fault(tmp_path, said, r0=("", LOST, 1.0))
    assert type(found) is TrainingError
    assert str(found).startswith("process 2 of the 2 that train was killed (SIGKILL;")
    assert "same command" in str(found)
    assert LOST not in str(found)


def test_an_error_of_ours_goes_before_those_that_it_led_to(tmp_path: Path) -> None:
    found = fault(tmp_path, failure(1, 1), r0=("", LOST, 1.0), r1=("NoRoom", "the disk is full", 2.0))
    assert (type(found), str(found)) == (NoRoom, "the disk is full")


def test_the_first_of_other_errors_is_told(tmp_path: Path) -> None:
    found = fault(tmp_path, failure(1, 1), r0=("", LOST, 2.0), r1=("", "no kernel for this", 1.0))
    assert type(found) is TrainingError
    assert "failed: no kernel for this; run the same command" in str(found)


def test_ctrl_c_is_told_as_such_unless_the_training_told_more(tmp_path: Path) -> None:
    assert type(fault(tmp_path, failure(0, -signal.SIGINT), asked=True)) is Interrupted
    told = "stopped the training at step 3 of 6"
    found = fault(tmp_path, failure(0, 1), asked=True, r0=("Interrupted", told, 1.0))
    assert (type(found), str(found)) == (Interrupted, told)


ALL = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, StillroomError)]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_comes_out_of_its_process(kind: type[StillroomError]) -> None:
    found = as_raised(kind.__name__, "what it says")
    assert issubclass(kind, type(found))
    assert str(found) == "what it says"
    assert found.exit_code == kind.exit_code


def test_an_error_that_needs_more_than_a_message_becomes_the_nearest_above_it() -> None:
    assert type(as_raised(MissingExtra.__name__, "needs mlflow")) is InputError


class PressedAtOnce(processes._Launched):
    """Ctrl-C as soon as rank 0 is there: it loads the model then, and has no step to save."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "rank_0":
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ctrl_c_before_the_first_step_ends_all_of_them(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a system prompt that is longer than a variable of the environment may be."""
    monkeypatch.setattr(processes, "_Launched", PressedAtOnce)
    settings = Sft(model=str(tiny), processes=2, system="Be sure. " * 20_000)
    before = set(descendants(os.getpid()))
    with pytest.raises(Interrupted, match="same command goes on"):
        processes.train(settings, [row(i, "sft") for i in range(4)], tmp_path / "student", seed=3)
    assert set(descendants(os.getpid())) <= before
    assert not (tmp_path / "student").exists()
