"""What a step of SFT costs on this machine, way by way: `python bench/sft_cpu.py [--rows 32] [--threads 2]`.

Trains SmolLM2-135M-Instruct with a LoRA on short sums, the quickstart's kind of row, and prints seconds per 8 rows,
tokens per second and the ratio to trl's own way in float32. The first step of each way is not timed. Ways run one
after another, so leave the machine alone meanwhile; where that cannot be had, `--threads 1` and the column of CPU
seconds, on which the ratio rests, say what is left to say: threads that wait for each other count as busy.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from stillroom.common.models.resolve import load_model, load_tokenizer, pick_dtype
from stillroom.students.data.encode import Encoded, encode_rows, prepare_tokenizer
from stillroom.students.data.rows import Row, read_rows, with_system
from stillroom.students.methods import trainer as trainers
from stillroom.students.methods.common import quiet_training
from stillroom.students.methods.registry import LoraSettings
from stillroom.students.methods.sft import Sft
from stillroom.students.records import Plan

MODEL = "embedded:smollm2-135m-instruct"
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True, slots=True)
class Way:
    """One way to train: `flat` is the shared-prefix pass, else trl's own padded one; `system` as in the recipe."""

    name: str
    dtype: str = "bfloat16"
    flat: bool = True
    batch: int = 8
    system: str | None = None
    targets: str | tuple[str, ...] = "all-linear"


WAYS = (
    Way("trl, float32, padded, batch 8", dtype="float32", flat=False),
    Way("trl, bfloat16, padded, batch 8", flat=False),
    Way("shared prefix, float32, batch 8", dtype="float32"),
    Way("shared prefix, bfloat16, batch 8"),
    Way("shared prefix, bfloat16, batch 16", batch=16),
    Way("shared prefix, bfloat16, batch 8, empty system prompt", system=""),
    Way("shared prefix, bfloat16, batch 8, LoRA on attention only", targets=ATTENTION),
)


def sums(count: int) -> list[Row]:
    """Rows as the quickstart makes them: a two-term sum and a short solution. The same on every run."""
    rng = random.Random(7)
    return [_sum(rng.randint(1, 99), rng.randint(1, 99)) for _ in range(count)]


def _sum(a: int, b: int) -> Row:
    question = f"State the final answer to the following arithmetic problem: {a} + {b} ="
    answer = f"{a} + {b} = {a + b}. The answer is {a + b}."
    turns = {"prompt": ("user", question), "completion": ("assistant", answer)}
    return {part: [{"role": role, "content": text}] for part, (role, text) in turns.items()}


class Cost(NamedTuple):
    """`wall_s`, `cpu_s`: per 8 rows; CPU seconds of all threads. `rate`: tokens of prompt and answer per second."""

    wall_s: float
    cpu_s: float
    rate: float


def measure(way: Way, rows: list[Row]) -> Cost:
    """Trains one way for an epoch."""
    lora = LoraSettings(target_modules=way.targets)
    settings = Sft(model=MODEL, lora=lora, epochs=1, batch_size=way.batch, system=way.system)
    clock: list[tuple[float, float]] = []
    with quiet_training(), tempfile.TemporaryDirectory() as work:
        tokenizer = load_tokenizer(MODEL)
        encoded = _encoded(rows, tokenizer, way)
        model = load_model(MODEL, way.dtype, "cpu")
        plan = Plan("cpu", way.dtype, 7)
        trainer: Any = trainers.make_trainer(
            model, tokenizer, encoded, settings, plan, Path(work), lambda _: clock.append(_now())
        )
        trainer.flat = way.flat
        trainer.train()
    wall, cpu = (last - first for first, last in zip(clock[0], clock[-1], strict=True))
    timed = len(rows) - way.batch
    tokens = sum(len(row.input_ids) for row in encoded.rows)
    return Cost(wall / timed * 8, cpu / timed * 8, tokens * timed / len(rows) / wall)


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _encoded(rows: list[Row], tokenizer: Any, way: Way) -> Encoded:
    found = [row._replace(prompt=with_system(row.prompt, way.system)) for row in read_rows(rows)]
    encoded = encode_rows(found, tokenizer, 2048)
    prepare_tokenizer(tokenizer, encoded.end_id)
    return encoded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=32, help="rows per way, a multiple of 16 (default: 32)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of torch (default: all cores)")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"{os.cpu_count()} cores, {given.threads} threads, load {os.getloadavg()[0]:.1f} at the start,")
    print(f"natively {pick_dtype('cpu')}, {given.rows} rows a way")
    print(f"{'way':58s} {'s / 8 rows':>10s} {'CPU s':>7s} {'tokens/s':>9s} {'ratio':>6s}")
    first = 0.0
    for way in WAYS:
        cost = measure(way, sums(given.rows))
        first = first or cost.cpu_s
        figures = f"{cost.wall_s:10.2f} {cost.cpu_s:7.2f} {cost.rate:9,.0f} {first / cost.cpu_s:5.1f}×"
        print(f"{way.name:58s} {figures}", flush=True)


if __name__ == "__main__":
    main()
