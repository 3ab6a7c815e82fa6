"""One of the processes that train a student together; `processes.py` starts it.

It refuses to print anything but what rank 0 tells: one line of JSON for each step, note, and for the student at last.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any

from stillroom.common.models.quiet import import_torch
from stillroom.common.text import first_line
from stillroom.errors import StillroomError
from stillroom.students.methods.processes import FOLDER, JOB, TOLD
from stillroom.students.methods.ranks import Ranks
from stillroom.students.methods.registry import methods
from stillroom.students.methods.trackers import Watched
from stillroom.students.records import StepInfo, TrainingPlace

PATIENCE = timedelta(days=7)
"""How long one waits for another. The first may sample rehearsed answers or fill a teacher's cache for hours; the
launcher notices one that dies."""


def main() -> int:
    """Trains what is in the folder that the environment names; gives the exit code."""
    ranks, out = Ranks.here(), sys.stdout

    def tell(kind: str, value: Any) -> None:
        if ranks.main:
            out.write(TOLD + json.dumps([kind, value]) + "\n")
            out.flush()

    tell("pid", os.getpid())
    try:
        with redirect_stdout(sys.stderr):
            job = Path(os.environ[FOLDER], JOB).read_text(encoding="utf-8")
            tell("trained", _train(json.loads(job), ranks, tell))
    except StillroomError as error:
        _leave_fault(ranks, type(error).__name__, str(error))
        return error.exit_code
    except Exception as error:
        _leave_fault(ranks, "", first_line(error))
        raise
    finally:
        _leave()
    return 0


def _leave_fault(ranks: Ranks, kind: str, told: str) -> None:
    fault = {"kind": kind, "told": told, "at": time.time()}
    Path(os.environ[FOLDER], f"fault-{ranks.rank}.json").write_text(json.dumps(fault), encoding="utf-8")


def _train(job: dict[str, Any], ranks: Ranks, tell: Any) -> dict[str, Any]:
    torch = import_torch()
    from accelerate import PartialState

    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    PartialState(cpu=not gpu, timeout=PATIENCE)
    settings = methods[job["settings"]["method"]].model_validate(job["settings"])
    rows: Any = job["rows"]
    if rows.endswith(".jsonl"):
        rows = [json.loads(line) for line in Path(rows).read_text(encoding="utf-8").splitlines()]
    watched = job["watched"] if ranks.main else None
    place = TrainingPlace(
        base=Path(job["base"]),
        store=None if job["store"] is None else Path(job["store"]),
        tell=lambda text: tell("note", text),
        watched=None if watched is None else Watched(**watched | {"folder": Path(watched["folder"])}),
    )

    def step(done: StepInfo) -> None:
        tell("step", done._asdict() | {"measures": dict(done.measures)})

    return settings.train(rows, Path(job["out"]), seed=job["seed"], on_step=step, place=place).as_json()


def _leave() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
