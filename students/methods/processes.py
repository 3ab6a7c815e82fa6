"""A training in several processes: torch's launcher starts them, each does the training of any method, rank 0 writes.

    trained = train(settings, rows, out, seed=7, on_step=print)      # as settings.train, for settings.processes > 1

The processes are told what to train by their environment and by a file of rows. Rank 0 tells of its steps in lines on
standard output; whatever else the processes print goes to a file. The first of them that fails, or is killed, ends
all, and its error is raised here. Ctrl-C reaches rank 0 alone, which has all end the step and save it; the second one
kills them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from stillroom import errors
from stillroom.errors import Interrupted, RecipeError, StillroomError, TrainingError
from stillroom.sampling.teachers.vllm.watchdog import Guard
from stillroom.students.data.rows import Row
from stillroom.students.methods.registry import StudentSettings
from stillroom.students.records import OnStep, Rewards, StepInfo, Trained, TrainingPlace

TOLD = "stillroom-rank-0 "
"""Begins a line that rank 0 tells us something in."""
JOB, FAULTS = "STILLROOM_TRAINING", "STILLROOM_FAULTS"
"""What a process is told: the training, and the folder in which it leaves why it failed."""


def train(
    settings: StudentSettings,
    rows: Path | str | Iterable[Row],
    out: Path,
    *,
    seed: int,
    on_step: OnStep | None = None,
    place: TrainingPlace | None = None,
) -> Trained:
    """See `StudentSettings.train`, which this is where one process trains."""
    place = place or TrainingPlace()
    if settings.processes == 1:
        return settings.train(rows, out, seed=seed, on_step=on_step, place=place)
    if settings.asks_the_scorer:
        raise RecipeError("a training that asks the scorer does so in one process: leave `student.processes` out")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="stillroom-") as folder:
        job = {
            "settings": settings.model_dump(mode="json"),
            "rows": str(rows) if isinstance(rows, Path | str) else _written(rows, Path(folder)),
            "out": str(out.absolute()),
            "seed": seed,
            "base": str(place.base.absolute()),
            "store": None if place.store is None else str(place.store.absolute()),
            "watched": None if place.watched is None else place.watched._asdict(),
        }
        return _run(settings, job, Path(folder), on_step, place)


def _written(rows: Iterable[Row], folder: Path) -> str:
    path = folder / "rows.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return str(path)


def _run(
    settings: StudentSettings, job: Mapping[str, Any], folder: Path, on_step: OnStep | None, place: TrainingPlace
) -> Trained:
    guard, log = Guard(), folder / "log.txt"
    try:
        with (
            guard.watching(),
            log.open("wb") as said,
            _ctrl_c() as ranks,
            _started(settings, job, folder, said) as process,
        ):
            ranks.launcher = process
            trained = _listen(process, ranks, on_step, place)
            code = process.wait()
    finally:
        guard.close()
    if trained is None or code:
        raise _fault(folder, log, settings.processes, ranks.stopped_at_once)
    return trained


def _started(
    settings: StudentSettings, job: Mapping[str, Any], folder: Path, log: IO[bytes]
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        _command(settings.processes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        env=_environment(settings.processes, job, folder),
        start_new_session=True,  # a Ctrl-C in the terminal is ours to pass on
        text=True,
        encoding="utf-8",
        errors="replace",
    )


def _command(processes: int) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [*launcher, "--max-restarts", "0", "-m", "stillroom.students.methods.rank"]


def _environment(processes: int, job: Mapping[str, Any], folder: Path) -> dict[str, str]:
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // processes))
    path = os.pathsep.join(dict.fromkeys(entry for entry in sys.path if entry))
    return {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "PYTHONPATH": path,
        JOB: json.dumps(job, default=str),
        FAULTS: str(folder),
    }


class _Launched:
    """The processes, for a Ctrl-C. `rank_0`: its number once it has told it."""

    launcher: subprocess.Popen[str] | None = None
    rank_0: int | None = None
    stopped_at_once = False
    asked = False

    def stop(self) -> None:
        """The first time rank 0 is asked to save and end; then all are killed."""
        with suppress(ProcessLookupError):
            if not self.asked and self.rank_0 is not None:
                self.asked = True
                os.kill(self.rank_0, signal.SIGINT)
            elif self.launcher is not None:
                self.stopped_at_once = True
                os.killpg(self.launcher.pid, signal.SIGKILL)


@contextmanager
def _ctrl_c() -> Iterator[_Launched]:
    ranks = _Launched()
    if threading.current_thread() is not threading.main_thread():
        from stillroom.common.run_async import stopped_by

        with stopped_by(ranks.stop):
            yield ranks
        return
    before = signal.getsignal(signal.SIGINT) or signal.default_int_handler
    signal.signal(signal.SIGINT, lambda *_: ranks.stop())
    try:
        yield ranks
    finally:
        signal.signal(signal.SIGINT, before)


def _listen(
    process: subprocess.Popen[str], ranks: _Launched, on_step: OnStep | None, place: TrainingPlace
) -> Trained | None:
    """Passes on what rank 0 tells, until its output ends; gives what it trained, None where it did not come to it."""
    trained: Trained | None = None
    assert process.stdout is not None
    for line in process.stdout:
        if not line.startswith(TOLD):
            continue
        kind, value = json.loads(line.removeprefix(TOLD))
        if kind == "pid":
            ranks.rank_0 = value
        elif kind == "note":
            place.tell(value)
        elif kind == "step" and on_step is not None:
            rewards = value.pop("rewards")
            on_step(StepInfo(**value, rewards=None if rewards is None else Rewards(*rewards)))
        elif kind == "trained":
            trained = Trained.from_json(value)
    return trained


def _fault(folder: Path, log: Path, processes: int, at_once: bool) -> StillroomError:
    """Why the processes ended: what one of them raised, or how one was killed."""
    if at_once:
        return Interrupted(
            "stopped the training in its step: the same command goes on from the last checkpoint, if there is one; "
            "everything that had been answered is kept"
        )
    said = log.read_text(encoding="utf-8", errors="replace")
    first = re.search(r"Root Cause.*?rank\s*:\s*(\d+).*?exitcode\s*:\s*(-?\d+)", said, re.DOTALL)
    goes_on = "run the same command to go on from the last checkpoint"
    raised = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("fault-*.json")]
    if first is not None and int(first[2]) < 0:
        name = signal.Signals(-int(first[2])).name
        return TrainingError(
            f"process {int(first[1]) + 1} of the {processes} that train was killed ({name}; a system does that when "
            f"its memory runs out), which ended the others: {goes_on}"
        )
    if raised:
        fault = min(raised, key=lambda fault: (not fault["kind"], fault["at"]))
        kind: type[StillroomError] = getattr(errors, fault["kind"], TrainingError)
        told = fault["told"]
        return kind(told if fault["kind"] else f"a process of the training failed: {told}; {goes_on}")
    return TrainingError(f"the {processes} processes of the training ended, and did not say why: {said[-500:]}")
