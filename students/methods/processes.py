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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from stillroom import errors
from stillroom.errors import Interrupted, RecipeError, StillroomError, TrainingError
from stillroom.sampling.teachers.vllm.watchdog import Guard
from stillroom.students.data.rows import Row
from stillroom.students.methods.registry import StudentSettings
from stillroom.students.records import OnStep, Rewards, StepInfo, Trained, TrainingPlace

TOLD = "stillroom-rank-0 "
"""Begins a line that rank 0 tells us something in."""
FOLDER = "STILLROOM_TRAINING"
"""What a process is told: the folder that holds the JOB, and in which it leaves why it failed."""
JOB = "job.json"
"""The training. A file: the system limits the length of a variable, and a system prompt or examples may be longer."""


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
        Path(folder, JOB).write_text(json.dumps(job, default=str), encoding="utf-8")
        return _run(settings, Path(folder), on_step, place)


def _written(rows: Iterable[Row], folder: Path) -> str:
    path = folder / "rows.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return str(path)


def _run(settings: StudentSettings, folder: Path, on_step: OnStep | None, place: TrainingPlace) -> Trained:
    guard, log = Guard(), folder / "log.txt"
    try:
        with (
            guard.watching(),
            log.open("wb") as said,
            _ctrl_c() as ranks,
            _started(settings, folder, said) as process,
        ):
            ranks.launcher = process
            trained = _listen(process, ranks, on_step, place)
            code = process.wait()
    finally:
        guard.close()
    if trained is None or code:
        raise _fault(folder, log, settings.processes, ranks)
    return trained


def _started(settings: StudentSettings, folder: Path, log: IO[bytes]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        _command(settings.processes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        env=_environment(settings.processes, folder),
        start_new_session=True,  # a Ctrl-C in the terminal is ours to pass on
        text=True,
        encoding="utf-8",
        errors="replace",
    )


def _command(processes: int) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [*launcher, "--max-restarts", "0", "-m", "stillroom.students.methods.rank"]


def _environment(processes: int, folder: Path) -> dict[str, str]:
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // processes))
    path = os.pathsep.join(dict.fromkeys(entry for entry in sys.path if entry))
    return {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "PYTHONPATH": path,
        FOLDER: str(folder),
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


def _fault(folder: Path, log: Path, processes: int, ranks: _Launched) -> StillroomError:
    """Why the processes ended: Ctrl-C, how one was killed, or what one of them raised."""
    raised = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("fault-*.json")]
    # Before its first step a process ends at a Ctrl-C without a word: it has nothing to save.
    if ranks.stopped_at_once or (ranks.asked and not any(fault["kind"] for fault in raised)):
        return Interrupted(
            "stopped the training in the middle of its work: the same command goes on from the last checkpoint, if "
            "there is one; everything that had been answered is kept"
        )
    said = log.read_text(encoding="utf-8", errors="replace")
    goes_on = "run the same command to go on from the last checkpoint"
    if (killed := _killed(said)) is not None:
        return TrainingError(
            f"process {killed.rank + 1} of the {processes} that train was killed ({killed.by}; a system does that "
            f"when its memory runs out), which ended the others: {goes_on}"
        )
    if not raised:
        return TrainingError(f"the {processes} processes of the training ended, and did not say why: {said[-500:]}")
    fault = min(raised, key=lambda fault: (not fault["kind"], fault["at"]))
    if not fault["kind"]:
        return TrainingError(f"a process of the training failed: {fault['told']}; {goes_on}")
    return as_raised(fault["kind"], fault["told"])


class _Killed(NamedTuple):
    """`rank`: the process; `by`: the name of the signal."""

    rank: int
    by: str


def _killed(said: str) -> _Killed | None:
    """The process that was killed, by what the launcher said. Of the others some may fail before it is noticed, as
    they lose their connection to it; and the launcher ends the rest with SIGTERM."""
    for rank, code in re.findall(r"rank\s*:\s*(\d+)[^\n]*\n\s*exitcode\s*:\s*(-?\d+)", said):
        if int(code) < 0 and -int(code) != signal.SIGTERM:
            return _Killed(int(rank), signal.Signals(-int(code)).name)
    return None


def as_raised(kind: str, told: str) -> StillroomError:
    """The error of another process. A class that is not made from its message alone becomes the nearest above it that
    is: a MissingExtra comes as an InputError."""
    found: type[StillroomError] = getattr(errors, kind, TrainingError)
    plain: type[StillroomError] = next(each for each in found.__mro__ if "__init__" not in vars(each))
    return plain(told)
