"""What a step of white-box training costs next to one of SFT: run by `whitebox.py`, one child process a way.

    python bench/_whitebox_steps.py dense TEACHER      # -> {"cpu_s": [...], "seconds": [...]}, of each step

SmolLM2-135M with a LoRA learns short sums, batches of 8 rows. `sft`; `dense`: soft labels at T = 2, the teacher is
asked in every batch; `cached`: at T = 1 from its cache, filled before; `teacher`: one pass of the teacher over each
batch, with its logits at the answers' positions, and nothing else. CPU seconds are of this process, so neighbours
cost little; of several threads those that wait count as busy: set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from stillroom.common.models.resolve import load_model, load_tokenizer
from stillroom.students.data.encode import encode_rows
from stillroom.students.data.rows import read_rows
from stillroom.students.methods.cpu_passes import can_flatten
from stillroom.students.methods.distil import Distil
from stillroom.students.methods.sft import Sft
from stillroom.students.records import TrainingPlace
from stillroom.students.whitebox.head import Head
from stillroom.students.whitebox.loss import Reader, padded

MODEL = "embedded:smollm2-135m-instruct"
ROWS, BATCH = 64, 8
COMMON: dict[str, Any] = {
    "model": MODEL,
    "epochs": 2,
    "batch_size": BATCH,
    "dtype": "float32",
    "learning_rate": 5e-4,
    "save_merged": False,
}


def sums() -> list[dict[str, Any]]:
    """Rows as the quickstart makes them. The same on every run."""
    drawn, rows = random.Random(7), []
    for _ in range(ROWS):
        a, b = drawn.randint(1, 99), drawn.randint(1, 99)
        asked = f"What is {a} + {b}?\nSay in one sentence how you get it, then write the answer after ####."
        said = f"We start at {a} and add {b}, which gives {a} + {b} = {a + b}.\n#### {a + b}"
        rows.append(
            {"prompt": [{"role": "user", "content": asked}], "completion": [{"role": "assistant", "content": said}]}
        )
    return rows


def of_training(way: str, teacher: str) -> dict[str, list[float]]:
    soft: dict[str, Any] = {
        "method": "distil",
        "teacher": teacher,
        "objectives": [{"kind": "soft", "temperature": 2}],
    }
    if way == "cached":
        soft |= {"objectives": [{"kind": "soft"}], "cache": {}}
    settings = Sft.model_validate(COMMON) if way == "sft" else Distil.model_validate(COMMON | soft)
    found: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as work:
        place = TrainingPlace(store=Path(work) / "signals")
        if way == "cached":  # filled by a training that is not measured
            settings.model_copy(update={"epochs": 1}).train(sums(), Path(work) / "first", seed=1, place=place)
        settings.train(
            sums(),
            Path(work) / "student",
            seed=1,
            place=place,
            on_step=lambda step: found.append((time.process_time(), step.seconds)),
        )
    cpu, seconds = zip(*found, strict=True)
    return {"cpu_s": _steps(cpu), "seconds": _steps(seconds)}


def of_teacher(teacher: str) -> dict[str, list[float]]:
    import torch

    model, tokenizer = load_model(teacher, "float32", "cpu"), load_tokenizer(teacher)
    rows = encode_rows(read_rows(sums()), tokenizer, 2048).rows
    reader = Reader(model, Head(model, len(tokenizer), "the teacher"), can_flatten(model.config))
    cpu, seconds = [time.process_time()], [time.perf_counter()]
    for _ in range(2):
        for start in range(0, ROWS, BATCH):
            states = reader.states("task", padded(rows[start : start + BATCH], range(start, start + BATCH)))
            with torch.no_grad():
                reader.head.logits(states.hidden)
            cpu.append(time.process_time())
            seconds.append(time.perf_counter())
    return {"cpu_s": _steps(cpu), "seconds": _steps(seconds)}


def _steps(times: Any) -> list[float]:
    """Of each step but the first, which also waits for whatever is made once."""
    return [b - a for a, b in pairwise(times)]


if __name__ == "__main__":
    way, teacher = sys.argv[1:3]
    print(json.dumps(of_teacher(teacher) if way == "teacher" else of_training(way, teacher)))
