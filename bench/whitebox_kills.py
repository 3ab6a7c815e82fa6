"""White-box trainings, killed by SIGKILL and started again: what is asked twice, whether the student is the same.

    python bench/whitebox_kills.py [--only on_policy] [--kills 20] [--seed 3] [--json FILE]

`on_policy`: a random model of two layers learns from another on its own answers, which are sampled every other step.
The events of a training that nobody kills are counted: each answer before and after it is on disk, each verdict, each
step of the optimiser, the student's files. Then the same training is killed at one of these events, drawn by chance
but at every kind of them, and started again. Of each kill: the answers that were sampled again (no more than one
block), and whether the weights are those of the training that nobody killed, byte for byte.

Every training is a process of its own, forked from this one before it has computed anything.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[1]))

ROWS = 12
BATCH = 6
SHARE = 0.5
REFRESH = 2
BLOCK = int(BATCH * SHARE * REFRESH)
"""Answers that are sampled at once, and that a kill may cost."""
EPOCHS = 3


class Killed(NamedTuple):
    """One killed and resumed training. `at`: the event before which it died; `held`: answers on record by then;
    `again`: answers that were sampled once more; `same`: its weights and losses are those of the unkilled one."""

    part: str
    kind: str
    at: int
    held: int
    again: int
    same: bool

    @property
    def well(self) -> bool:
        """Whether no more is asked twice than a block, and nothing differs."""
        return self.same and self.again <= BLOCK


class Events:
    """Counts what happens in a training, and dies before the event number `die_at`."""

    def __init__(self, log: Path, die_at: int | None) -> None:
        self._log, self._die_at, self._count = log, die_at, 0

    def __call__(self, kind: str) -> None:
        if self._count == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self._count += 1
        with self._log.open("a", encoding="utf-8") as file:
            file.write(f"{kind}\n")

    def before(self, owner: Any, name: str, kind: str) -> None:
        """An event before each call."""
        plain = getattr(owner, name)

        def called(*args: Any, **kwargs: Any) -> Any:
            self(kind)
            return plain(*args, **kwargs)

        setattr(owner, name, called)


def make_models(folder: Path) -> None:
    """Student and teacher: random, of one tokenizer."""
    import torch

    from bench.run_kills import make_model
    from stillroom.common.models.resolve import load_model, load_tokenizer

    make_model(folder / "student")
    model = load_model(str(folder / "student"), "float32", "cpu")
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2).add_(0.02 * torch.randn_like(weight))
    model.save_pretrained(folder / "teacher")
    load_tokenizer(str(folder / "student")).save_pretrained(folder / "teacher")


def train_on_policy(folder: Path, out: Path, die_at: int | None) -> None:
    """One training, in the present process. What happens is in `<out>/events`."""
    import torch

    from stillroom.sampling.ledger import Ledger
    from stillroom.students.methods import common
    from stillroom.students.methods.distil import Distil
    from stillroom.students.records import TrainingPlace

    torch.set_num_threads(1)
    out.mkdir(exist_ok=True)
    events = Events(out / "events", die_at)
    events.before(Ledger, "add_attempt", "answer")
    events.before(Ledger, "add_verdict", "verdict")
    events.before(torch.optim.AdamW, "step", "step")
    events.before(common, "save_student", "saving")
    events.before(common, "write_record", "record")
    rows = [
        {
            "prompt": [{"role": "user", "content": f"What is {3 * i + 2} + {i % 5}?"}],
            "completion": [{"role": "assistant", "content": str(3 * i + 2 + i % 5)}],
        }
        for i in range(ROWS)
    ]
    settings = Distil.model_validate(
        {
            "method": "distil",
            "model": str(folder / "student"),
            "teacher": str(folder / "teacher"),
            "objectives": [{"kind": "soft"}, {"kind": "hard", "weight": 0.3}],
            "on_policy": {"share": SHARE, "refresh": REFRESH, "sampling": {"max_tokens": 12}},
            "epochs": EPOCHS,
            "batch_size": BATCH,
            "learning_rate": 1e-2,
            "dtype": "float32",
        }
    )
    with Ledger.open(out / "run") as ledger:
        settings.train(rows, out / "student", seed=7, place=TrainingPlace(ledger=ledger))


def forked(work: Callable[[], None]) -> int:
    """Runs `work` in a child; its exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        code = 1
        with suppress(BaseException):
            work()
            code = 0
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def made(out: Path) -> dict[str, str]:
    """Hashes of the student's weights, and its losses."""
    files = sorted((out / "student").rglob("*.safetensors"))
    found = {f.relative_to(out).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
    record = json.loads((out / "student" / "training.json").read_text(encoding="utf-8"))
    return found | {name: json.dumps(record[name]) for name in ("losses", "objectives", "on_policy")}


def on_record(out: Path) -> int:
    """Answers in the ledger."""
    path = out / "run" / "ledger.sqlite"
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT COUNT(*) FROM attempts").fetchone()[0])


def points(kinds: list[str], kills: int, seed: int) -> list[int]:
    """Events to die at: in turns of each kind, by chance within it."""
    dice, found = random.Random(seed), list[int]()
    by_kind = {kind: [i for i, each in enumerate(kinds) if each == kind] for kind in dict.fromkeys(kinds)}
    for left in by_kind.values():
        dice.shuffle(left)
    while len(found) < min(kills, len(kinds)):
        found += [left.pop() for left in by_kind.values() if left][: kills - len(found)]
    return found


def on_policy(kills: int, seed: int) -> list[Killed]:
    """Kills at events of a training on the student's own answers."""
    found = list[Killed]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if forked(lambda: make_models(folder)):
            raise RuntimeError("the models could not be made")
        whole = folder / "whole"
        if forked(lambda: train_on_policy(folder, whole, None)):
            raise RuntimeError("the training that nobody kills failed")
        kinds = (whole / "events").read_text(encoding="utf-8").split()
        unkilled, asked = made(whole), on_record(whole)
        print(f"unkilled: {len(kinds)} events, {asked} answers", flush=True)
        for at in points(kinds, kills, seed):
            out = folder / f"killed_{at}"
            code = forked(lambda out=out, at=at: train_on_policy(folder, out, at))  # type: ignore[misc]
            held = on_record(out)
            if code != -signal.SIGKILL or forked(lambda out=out: train_on_policy(folder, out, None)):  # type: ignore[misc]
                raise RuntimeError(f"event {at}: ended with {code}, or did not end well afterwards")
            found.append(Killed("on_policy", kinds[at], at, held, on_record(out) - asked, made(out) == unkilled))
            print(f"{len(found):3} {found[-1]}", flush=True)
    return found


PARTS: dict[str, Callable[[int, int], list[Killed]]] = {"on_policy": on_policy}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--kills", type=int, default=20, help="of each part")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    o = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from stillroom.students.methods.common import quiet_training

    with quiet_training():
        import stillroom.students.methods.distil  # noqa: F401  what all children need, as it is now

        began = time.perf_counter()
        found = [each for name, part in PARTS.items() if o.only in (None, name) for each in part(o.kills, o.seed)]
    differ, beyond = sum(not each.same for each in found), sum(each.again > BLOCK for each in found)
    print(f"{len(found)} kills: {differ} other students, {beyond} that asked more than a block again, ", end="")
    print(f"{sum(each.again for each in found)} answers again in all; took {time.perf_counter() - began:.0f} s")
    if o.json:
        o.json.write_text(json.dumps([each._asdict() for each in found], indent=1), encoding="utf-8")
    sys.exit(not found or not all(each.well for each in found))


if __name__ == "__main__":
    main()
