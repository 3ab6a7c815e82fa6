"""Trainings killed by SIGKILL and started again: is the student the one that nobody killed, byte for byte?

    python bench/train_resume.py [--only sft] [--kills 20] [--seed 3] [--json FILE]

Each case trains a random model of two layers on a CPU, with a checkpoint after every second step. What happens in a
training that nobody kills is counted: each step of the optimiser, each checkpoint (when its files are written, and
when it has its name), the student's files and its record. Then the same training is killed at one of these, drawn by
chance but at every kind of them, and the same call is made again. Of each kill: the step that it went on from, and
whether weights, tokenizer, settings of generation, losses and means are those of a training without any checkpoint.

Every training is a process of its own, forked from this one before it has computed anything.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[1]))

Make = Callable[[Path], dict[str, Any]]
ROWS = 14
EVERY = 2
"""Steps between two checkpoints."""


def _common(folder: Path) -> dict[str, Any]:
    return {
        "model": str(folder / "student"),
        "epochs": 3,
        "batch_size": 2,
        "gradient_accumulation": 2,
        "learning_rate": 1e-2,
        "dtype": "float32",
        "scheduler": "cosine",
    }


def _distil(folder: Path, **more: Any) -> dict[str, Any]:
    soft = [{"kind": "soft", "temperature": 2, "weight": 0.7}, {"kind": "hard", "weight": 0.3}]
    teacher = str(folder / "teacher")
    return _common(folder) | {"method": "distil", "teacher": teacher, "objectives": soft} | more


REHEARSE = {"prompts": "everyday", "n": 6, "max_tokens": 6}
ON_POLICY = {"share": 0.5, "refresh": 3, "sampling": {"max_tokens": 8}}
DROPOUT = {"r": 4, "alpha": 8, "dropout": 0.2}
"""Dropout draws random numbers at every step, so that a random state that is wrong shows."""
CASES: dict[str, Make] = {
    "sft": lambda folder: _common(folder) | {"lora": DROPOUT},
    "dpo": lambda folder: _common(folder) | {"method": "dpo"},
    "soft_labels": lambda folder: _distil(folder, lora=DROPOUT),
    "validated": lambda folder: (
        _common(folder) | {"lora": DROPOUT, "validation": {"rows": 4, "every": 3, "best": True}}
    ),
    "sft_whole": lambda folder: _common(folder) | {"lora": False, "epochs": 2.5},
    "dpo_after_sft": lambda folder: (
        _common(folder) | {"method": "dpo", "dpo": {"sft_first": {"epochs": 1.5}, "precompute_ref": False}}
    ),
    "kto": lambda folder: _common(folder) | {"method": "kto"},
    "orpo": lambda folder: _common(folder) | {"method": "orpo"},
    "rehearsal": lambda folder: _distil(folder, lora=DROPOUT, rehearse=REHEARSE),
    "on_policy": lambda folder: _distil(folder, lora=DROPOUT, on_policy=ON_POLICY),
    "cached": lambda folder: _distil(folder, cache=True),
}
"""The first three are what the figure is of."""


class Killed(NamedTuple):
    """One killed and resumed training. `at`: the event before which it died; `went_on`: the step of the checkpoint
    that was gone on with, None for none; `same`: the student is that of the unkilled training."""

    case: str
    kind: str
    at: int
    went_on: int | None
    same: bool


def row(i: int, method: str) -> dict[str, Any]:
    """A row, or a pair, of sums; of several lengths."""
    asked = [{"role": "user", "content": f"What is {3 * i + 2} + {i % 5}?" + " Think." * (i % 4)}]
    right, wrong = ([{"role": "assistant", "content": str(value) * (1 + i % 3)}] for value in (3 * i + 2 + i % 5, i))
    if method == "kto":
        return {"prompt": asked, "completion": right if i % 2 else wrong, "label": bool(i % 2)}
    more = {"chosen": right, "rejected": wrong} if method in ("dpo", "orpo") else {"completion": right}
    return {"prompt": asked, **more}


def train(folder: Path, out: Path, case: str, die_at: int | None, *, checkpoints: bool = True) -> None:
    """One training, in the present process. What happens is in `<out>/events`, what is told in `<out>/told`."""
    import torch
    from pydantic import TypeAdapter

    from bench.whitebox_kills import Events
    from stillroom.sampling.ledger import Ledger
    from stillroom.students.methods import common
    from stillroom.students.methods.checkpoints import Checkpoints
    from stillroom.students.methods.registry import Student, StudentSettings
    from stillroom.students.records import TrainingPlace

    torch.set_num_threads(1)
    out.mkdir(exist_ok=True)
    events = Events(out / "events", die_at)
    events.before(torch.optim.AdamW, "step", "step")
    events.before(Checkpoints, "_sealed", "checkpoint_written")
    events.before(Checkpoints, "_there", "checkpoint_named")
    events.before(common, "save_student", "student")
    events.before(common, "write_record", "record")
    given = CASES[case](folder) | {"checkpoints": {"steps": EVERY} if checkpoints else False}
    settings: StudentSettings = TypeAdapter(Student).validate_python(given)
    rows = [row(i, settings.method) for i in range(ROWS)]
    with Ledger.open(out / "run") as ledger, (out / "told").open("a", encoding="utf-8") as told:
        place = TrainingPlace(ledger=ledger, tell=lambda text: print(text, file=told, flush=True))
        settings.train(rows, out / "student", seed=7, place=place)


def made(out: Path) -> dict[str, Any]:
    """The student's files but its record, by name; and what the training showed."""
    files = sorted(file for file in (out / "student").rglob("*") if file.is_file() and file.name != "training.json")
    record = json.loads((out / "student" / "training.json").read_text(encoding="utf-8"))
    names = ["losses", "sft_losses", "rewards", "objectives", "measures", "validation", "steps", "tokens", "data"]
    names += ["rehearsal", "on_policy"]
    return {file.relative_to(out).as_posix(): file.read_bytes() for file in files} | {
        name: record[name] for name in names if name in record
    }


def of(case: str, folder: Path, kills: int, seed: int) -> list[Killed]:
    """Kills of one case."""
    from bench.whitebox_kills import forked, points

    found = list[Killed]()
    unkilled, whole = folder / f"{case}_unkilled", folder / f"{case}_whole"
    if forked(lambda: train(folder, unkilled, case, None, checkpoints=False)):
        raise RuntimeError(f"{case}: the training without checkpoints failed")
    if forked(lambda: train(folder, whole, case, None)):
        raise RuntimeError(f"{case}: the training that nobody kills failed")
    expected, kinds = made(unkilled), (whole / "events").read_text(encoding="utf-8").split()
    if made(whole) != expected:
        raise RuntimeError(f"{case}: the checkpoints change the student")
    for at in points(kinds, kills, seed):
        out = folder / f"{case}_killed_{at}"
        code = forked(lambda out=out, at=at: train(folder, out, case, at))  # type: ignore[misc]
        if code != -signal.SIGKILL or forked(lambda out=out: train(folder, out, case, None)):  # type: ignore[misc]
            raise RuntimeError(f"{case}, event {at}: ended with {code}, or did not end well afterwards")
        said = re.findall(r"(?:goes on from step|all) (\d+)", (out / "told").read_text(encoding="utf-8"))
        left = list(out.glob(".student*"))
        same = made(out) == expected and not left
        found.append(Killed(case, kinds[at], at, int(said[-1]) if said else None, same))
        print(f"{len(found):3} {found[-1]}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=CASES, action="append", help="these cases; default the first three")
    parser.add_argument("--kills", type=int, default=20, help="over all cases")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    o = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from bench.whitebox_kills import forked, make_models
    from stillroom.students.methods.common import quiet_training

    cases = o.only or list(CASES)[:3]
    with quiet_training(), tempfile.TemporaryDirectory() as name:
        import stillroom.students.methods.distil
        import stillroom.students.methods.dpo  # noqa: F401  what all children need, as it is now

        folder, began = Path(name), time.perf_counter()
        if forked(lambda: make_models(folder)):
            raise RuntimeError("the models could not be made")
        shares = [o.kills // len(cases) + (i < o.kills % len(cases)) for i in range(len(cases))]
        found = [each for case, n in zip(cases, shares, strict=True) for each in of(case, folder, n, o.seed)]
    same, went_on = sum(each.same for each in found), sum(each.went_on is not None for each in found)
    print(
        f"{len(found)} kills, {went_on} went on from a checkpoint: {same} of {len(found)} students equal the unkilled"
    )
    print(f"one, byte for byte; took {time.perf_counter() - began:.0f} s")
    if o.json:
        o.json.write_text(json.dumps([each._asdict() for each in found], indent=1), encoding="utf-8")
    sys.exit(not found or same < len(found))


if __name__ == "__main__":
    main()
