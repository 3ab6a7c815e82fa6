"""Memory and time of a training step: what is told before the first, and what was measured.

    python bench/train_memory.py [--only sft] [--threads 2] [--json FILE]

Each case trains SmolLM2-135M, or a random model of two layers, for a few steps in a process of its own. Memory: the
most that was resident in the steps, less what was before the weights were loaded. Time: the mean of the steps after
the first, which also warms up. Leave the machine alone meanwhile, or take `--threads 1`: then both times are seconds
of the CPU, in which others on the machine hardly count.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[1]))

SMOLLM = "embedded:smollm2-135m-instruct"
SHORT, LONG = 12, 60
"""Words of an answer."""
STEPS = 3


class Case(NamedTuple):
    """`words`: of an answer; `settings`: of the student."""

    name: str
    words: int
    settings: dict[str, Any]


SOFT = [{"kind": "soft", "temperature": 2, "weight": 0.7}, {"kind": "hard", "weight": 0.3}]
DISTIL = {"method": "distil", "teacher": SMOLLM, "objectives": SOFT}
CASES = (
    Case("sft, lora, bfloat16, short", SHORT, {"dtype": "bfloat16"}),
    Case("sft, lora, bfloat16, long", LONG, {"dtype": "bfloat16"}),
    Case("sft, lora, float32, short", SHORT, {"dtype": "float32"}),
    Case("sft, lora, float32, long", LONG, {"dtype": "float32"}),
    Case("sft, lora, float32, longer than a flat batch", 2 * LONG, {"dtype": "float32", "batch_size": 6}),
    Case("sft, whole, float32, short", SHORT, {"dtype": "float32", "lora": None}),
    Case("sft, whole, float32, long, 2 passes", LONG, {"lora": None, "dtype": "float32", "gradient_accumulation": 2}),
    Case("sft, whole, bfloat16, short", SHORT, {"dtype": "bfloat16", "lora": None}),
    Case("dpo, lora, float32, short", SHORT, {"method": "dpo", "dtype": "float32"}),
    Case("dpo, lora, float32, long", LONG, {"method": "dpo", "dtype": "float32", "batch_size": 4}),
    Case("kto, lora, float32, short", SHORT, {"method": "kto", "dtype": "float32"}),
    Case(
        "distil, lora, float32, short",
        SHORT,
        {"method": "distil", "teacher": SMOLLM, "objectives": SOFT, "dtype": "float32"},
    ),
    Case(
        "distil, lora, bfloat16, long",
        LONG,
        {"method": "distil", "teacher": SMOLLM, "objectives": SOFT, "dtype": "bfloat16"},
    ),
    Case("sft, lora, tiny model, long", LONG, {"model": "tiny", "dtype": "float32"}),
    Case("sft, whole, tiny model, long", LONG, {"model": "tiny", "dtype": "float32", "lora": None}),
)


class Found(NamedTuple):
    """Bytes and seconds of a step, estimated and measured."""

    name: str
    estimated: float
    measured: float
    estimated_s: float
    measured_s: float


def rows(method: str, words: int, count: int) -> list[dict[str, Any]]:
    """Rows of about one length, with an answer of `words` numbers."""
    found = []
    for i in range(count):
        asked = [{"role": "user", "content": f"Count on from {i * 7} as far as you can, please."}]
        said = [
            [{"role": "assistant", "content": " ".join(str(i * 7 + k + w) for w in range(words))}] for k in (1, 2)
        ]
        if method == "kto":
            found.append({"prompt": asked, "completion": said[0], "label": bool(i % 2)})
        elif method == "dpo":
            found.append({"prompt": asked, "chosen": said[0], "rejected": said[1]})
        else:
            found.append({"prompt": asked, "completion": said[0]})
    return found


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def measure(case: Case, threads: int, folder: Path) -> Found:
    """In the present process."""
    import torch
    from pydantic import TypeAdapter

    from stillroom.common.models.resolve import load_model
    from stillroom.students.estimate import estimate as estimates
    from stillroom.students.estimate import timing
    from stillroom.students.methods import common
    from stillroom.students.methods.registry import Student, StudentSettings

    torch.set_num_threads(threads)
    now = time.process_time if threads == 1 else time.perf_counter
    timing.clock = now
    given: dict[str, Any] = {"model": SMOLLM, "epochs": 1, "batch_size": 8, "checkpoints": False} | case.settings
    if given["model"] == "tiny":
        from tests.tiny import save_tiny

        given["model"] = str(save_tiny(folder / "tiny"))
    settings: StudentSettings = TypeAdapter(Student).validate_python(given)
    found, before, clock, peak = [], [0], [], [0]
    told = estimates.before_training

    def loaded(*args: Any) -> Any:
        _warm_up()
        before[0] = resident()
        return load_model(*args)

    def estimated(*args: Any, **more: Any) -> None:
        config, encoded, plan = args[1:4]
        found.append(estimates.estimate(settings, config, encoded, plan))
        told(*args, **more)

    def on_step(_: Any) -> None:
        clock.append(now())
        peak[0] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

    for name, instead in (("load_model", loaded), ("before_training", estimated)):
        setattr(common, name, instead)
    count = STEPS * settings.batch_size * settings.gradient_accumulation
    settings.train(rows(settings.method, case.words, count), folder / "student", seed=7, on_step=on_step)
    seconds = (clock[-1] - clock[0]) / (len(clock) - 1)
    return Found(case.name, found[0].need, peak[0] - before[0], found[0].seconds or 0.0, seconds)


def _warm_up() -> None:
    """Loads what a training loads of code, so that the weights and what comes of them are left to be measured."""
    import accelerate  # noqa: F401
    import trl
    from transformers import AutoModelForCausalLM  # noqa: F401

    from stillroom.students.estimate import dry_pass  # noqa: F401

    for name in ("SFTTrainer", "DPOTrainer", "KTOTrainer"):
        getattr(trl, name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name holds this (default: all)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of torch (default: all cores)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--case", help=argparse.SUPPRESS)  # one case, in a process of its own
    given = parser.parse_args()
    if given.case is not None:
        case = next(case for case in CASES if case.name == given.case)
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(case, given.threads, Path(folder))))
        return
    print(f"{os.cpu_count()} cores, {given.threads} threads, load {os.getloadavg()[0]:.1f} at the start")
    print(f"{'case':48s} {'told GB':>8s} {'was GB':>7s} {'ratio':>6s} {'told s':>7s} {'was s':>6s} {'ratio':>6s}")
    every = []
    for case in CASES:
        if given.only not in case.name:
            continue
        command = [sys.executable, __file__, "--case", case.name, "--threads", str(given.threads)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = Found(*json.loads(done.stdout.splitlines()[-1]))
        memory = f"{found.estimated / 1e9:8.2f} {found.measured / 1e9:7.2f} {found.estimated / found.measured:6.2f}"
        seconds = f"{found.estimated_s:7.2f} {found.measured_s:6.2f} {found.estimated_s / found.measured_s:6.2f}"
        print(f"{found.name:48s} {memory} {seconds}", flush=True)
        every.append(found._asdict())
    if given.json is not None:
        given.json.write_text(json.dumps(every, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
