"""A training in two processes against one with the same rows in a step: the largest difference of a step's loss.

    python bench/train_processes.py [--only sft] [--processes 2] [--rows 11] [--json FILE]

Random models of two layers on a CPU (gloo), in float32. One process trains with batches of 2 × processes rows, the
processes with 2 each. Exit code 1 where a difference is above 1e-5, or the tokens or the number of steps differ.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[1]))

BATCH = 2
"""Rows of one pass of one process."""
AT_MOST = 1e-5
SOFT = [{"kind": "soft", "temperature": 2}, {"kind": "hard"}]
CASES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "sft": lambda folder: {"method": "sft"},
    "dpo": lambda folder: {"method": "dpo", "learning_rate": 1e-3},
    "distil": lambda folder: {"method": "distil", "teacher": str(folder / "teacher"), "objectives": SOFT},
    "orpo": lambda folder: {"method": "orpo", "learning_rate": 1e-3},
}


class Compared(NamedTuple):
    """`moved`: how far the loss of one process went from its first step to its last, which a difference is to be seen
    against; `same`: steps and tokens are equal, and no loss differs by more than AT_MOST."""

    case: str
    steps: int
    difference: float
    moved: float
    same: bool


def compared(case: str, folder: Path, processes: int, rows: int) -> Compared:
    """Trains both."""
    from pydantic import TypeAdapter

    from bench.train_resume import row
    from stillroom.students.methods.processes import train
    from stillroom.students.methods.registry import Student, StudentSettings
    from stillroom.students.records import Trained

    common = {"model": str(folder / "student"), "epochs": 2, "learning_rate": 1e-2, "dtype": "float32"}

    def trained(name: str, **more: Any) -> Trained:
        given = common | {"warmup_ratio": 0} | CASES[case](folder) | more
        settings: StudentSettings = TypeAdapter(Student).validate_python(given)
        return train(settings, [row(i, settings.method) for i in range(rows)], folder / f"{case}_{name}", seed=3)

    one = trained("one", batch_size=BATCH * processes)
    all_of_them = trained("all", batch_size=BATCH, processes=processes)
    difference = max(abs(a - b) for a, b in zip(one.losses, all_of_them.losses, strict=True))
    same = difference <= AT_MOST and one.tokens == all_of_them.tokens
    return Compared(case, one.steps, difference, abs(one.losses[-1] - one.losses[0]), same)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=CASES, action="append", help="these cases; default all")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rows", type=int, default=11, help="the default leaves a last step that cannot be halved")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    o = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from bench.whitebox_kills import make_models
    from stillroom.students.methods.common import quiet_training

    found = list[Compared]()
    with quiet_training(), tempfile.TemporaryDirectory() as name:
        make_models(Path(name))
        for case in o.only or CASES:
            found.append(compared(case, Path(name), o.processes, o.rows))
            each = found[-1]
            print(f"{case:6} {each.steps} steps, the loss moved by {each.moved:.3f}: ", end="")
            print(f"largest difference {each.difference:.1e}{'' if each.same else '  NOT THE SAME'}", flush=True)
    if o.json:
        o.json.write_text(json.dumps([each._asdict() for each in found], indent=1), encoding="utf-8")
    sys.exit(not all(each.same for each in found))


if __name__ == "__main__":
    main()
