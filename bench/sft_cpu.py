"""What a step of SFT costs on this machine, way by way: `python bench/sft_cpu.py [--rows 32]`.

Trains SmolLM2-135M-Instruct with a LoRA on short sums, the quickstart's kind of row, and prints seconds per 8 rows,
tokens per second and the ratio to trl's own way in float32. The first step of each way is not timed. Ways are run
one after another: leave the machine alone meanwhile, or compare ratios only.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillroom.sampling.models import load_model, load_tokenizer, pick_dtype
from stillroom.students import trainer as trainers
from stillroom.students.encoding import Encoded, encode_rows, prepare_tokenizer
from stillroom.students.quiet import quiet_training
from stillroom.students.rows import Row, read_rows, with_system
from stillroom.students.settings import LoraSettings, StudentSettings

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


def measure(way: Way, rows: list[Row]) -> tuple[float, float]:
    """Seconds per 8 rows, and tokens of prompt and answer per second."""
    lora = LoraSettings(target_modules=way.targets)
    settings = StudentSettings(model=MODEL, lora=lora, epochs=1, batch_size=way.batch, system=way.system)
    times: list[float] = []
    with quiet_training(), tempfile.TemporaryDirectory() as work:
        tokenizer = load_tokenizer(MODEL)
        encoded = _encoded(rows, tokenizer, way)
        model = load_model(MODEL, way.dtype, "cpu")
        plan = trainers.Plan("cpu", way.dtype, 7)
        trainer: Any = trainers.make_trainer(
            model, tokenizer, encoded, settings, plan, Path(work), lambda info: times.append(info.seconds)
        )
        trainer.flat = way.flat
        trainer.train()
    seconds, timed = times[-1] - times[0], len(rows) - way.batch
    return seconds / timed * 8, encoded.tokens * timed / len(rows) / seconds


def _encoded(rows: list[Row], tokenizer: Any, way: Way) -> Encoded:
    found = [row._replace(prompt=with_system(row.prompt, way.system)) for row in read_rows(rows)]
    encoded = encode_rows(found, tokenizer, 2048)
    prepare_tokenizer(tokenizer, encoded.end_id)
    return encoded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=32, help="rows per way, a multiple of 16 (default: 32)")
    rows = sums(parser.parse_args().rows)
    load = os.getloadavg()[0]
    print(
        f"{os.cpu_count()} cores, load {load:.1f} at the start, natively {pick_dtype('cpu')}, {len(rows)} rows a way"
    )
    print(f"{'way':58s} {'s / 8 rows':>10s} {'tokens/s':>9s} {'ratio':>6s}")
    first = 0.0
    for way in WAYS:
        seconds, rate = measure(way, rows)
        first = first or seconds
        print(f"{way.name:58s} {seconds:10.2f} {rate:9,.0f} {first / seconds:5.1f}×", flush=True)


if __name__ == "__main__":
    main()
