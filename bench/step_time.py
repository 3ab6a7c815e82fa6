"""What a step of ours costs next to one of trl's own trainer: `python bench/step_time.py [--rounds 3] [--rows 48]`.

SmolLM2-135M with a LoRA, batches of 8, the same rows, settings and order of rounds: SFT and DPO, each as trl's
trainer, as ours where trl computes the loss (attention `eager`, so that no pass for the CPU fits), and as ours with
the pass for the CPU. A way is a process; a round runs each way once, and the control, trl's own against itself, tells
what a ratio is worth here. CPU seconds of the steps but the first, with one thread. Asked for: at most 1.02 of trl's
own, and where our pass is used at most 0.8.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

MODEL = "embedded:smollm2-135m-instruct"
WAYS = ("trl eager", "ours eager", "trl eager again", "trl", "ours")
RATIOS = {"ours eager": ("trl eager", 1.02), "trl eager again": ("trl eager", None), "ours": ("trl", 0.8)}


def turns(count: int, method: str) -> list[dict[str, Any]]:
    """Sums with a short solution, and for pairs a wrong one. The same on every run."""
    drawn, rows = random.Random(7), []
    for _ in range(count):
        a, b = drawn.randint(1, 99), drawn.randint(1, 99)
        asked = f"What is {a} + {b}?\nSay in one sentence how you get it, then write the answer after ####."
        said = [f"We start at {a} and add {b}, which gives {a} + {b} = {c}.\n#### {c}" for c in (a + b, a + b + 10)]
        chosen, rejected = ([{"role": "assistant", "content": text}] for text in said)
        row = {"prompt": [{"role": "user", "content": asked}]}
        rows.append(row | ({"completion": chosen} if method == "sft" else {"chosen": chosen, "rejected": rejected}))
    return rows


def steps_of(method: str, way: str, count: int) -> list[float]:
    """CPU seconds of each step but the first."""
    from stillroom.common.models.resolve import load_model, load_tokenizer
    from stillroom.students.data.encode import encode_pairs, encode_rows, prepare_tokenizer
    from stillroom.students.data.rows import read_pairs, read_rows
    from stillroom.students.methods.common import quiet_training
    from stillroom.students.methods.dpo import Dpo, make_dpo_trainer
    from stillroom.students.methods.sft import Sft
    from stillroom.students.methods.trainer import make_trainer, pair_columns
    from stillroom.students.records import Plan

    eager = {"model_init_kwargs": {"attn_implementation": "eager"}} if "eager" in way else {}
    common: dict[str, Any] = {"model": MODEL, "epochs": 1, "batch_size": 8, "dtype": "float32", "trainer": eager}
    settings = Sft.model_validate(common) if method == "sft" else Dpo.model_validate(common)
    times: list[float] = []
    with quiet_training(), tempfile.TemporaryDirectory() as work:
        model, tokenizer = load_model(MODEL, "float32", "cpu", settings.attention), load_tokenizer(MODEL)
        plan = Plan("cpu", "float32", 7)
        if method == "sft":
            rows = encode_rows(read_rows(turns(count, method)), tokenizer, 2048)
            prepare_tokenizer(tokenizer, rows.end_id)
            trainer = make_trainer(model, tokenizer, rows, settings, plan, Path(work))
            columns = [{"input_ids": row.input_ids, "labels": row.labels} for row in rows.rows]
        else:
            pairs = encode_pairs(read_pairs(turns(count, method)), tokenizer, 2048)
            prepare_tokenizer(tokenizer, pairs.end_id)
            assert isinstance(settings, Dpo)
            trainer = make_dpo_trainer(model, tokenizer, pairs, settings, settings.dpo, plan, Path(work))
            columns = pair_columns(pairs)
        if way.startswith("trl"):
            trainer = own_of_trl(method, trainer, settings, tokenizer, columns)
        trainer.add_callback(_clock(times))
        trainer.train()
    return [b - a for a, b in pairwise(times)]


def own_of_trl(method: str, ours: Any, settings: Any, tokenizer: Any, columns: list[dict[str, Any]]) -> Any:
    """trl's trainer with the arguments of ours, on a model that nothing of ours has touched, and the same tokens."""
    import datasets
    import trl

    from stillroom.common.models.resolve import load_model
    from stillroom.students.methods.trainer import OwnRows, lora_config

    model = load_model(MODEL, "float32", "cpu", settings.attention)
    kind: Any = trl.SFTTrainer
    if method == "dpo":

        class Plain(trl.DPOTrainer):  # type: ignore[misc]
            """It would make tokens of them once more."""

            _prepare_dataset = OwnRows._prepare_dataset

        kind = Plain
        ours.args.precompute_ref_log_probs = True
    ours.args.train_sampling_strategy = "random" if method == "sft" else "group_by_length"
    return kind(
        model=model,
        args=ours.args,
        train_dataset=datasets.Dataset.from_list(columns),
        processing_class=tokenizer,
        peft_config=lora_config(settings.lora, model.config),
    )


def _clock(times: list[float]) -> Any:
    import transformers

    class Clock(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.process_time())

    return Clock()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--way", help="run this one alone, as METHOD:WAY, and print its seconds")
    given = parser.parse_args()
    if given.way:
        method, way = given.way.split(":")
        print(json.dumps(steps_of(method, way, given.rows)))
        return
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(given.rounds):
        for method in ("sft", "dpo"):
            for way in WAYS:
                command = [sys.executable, __file__, "--rows", str(given.rows), "--way", f"{method}:{way}"]
                done = subprocess.run(
                    command, capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
                )
                found[method, way] += json.loads(done.stdout.splitlines()[-1])
    table = Table(title=f"CPU seconds of a step, {given.rounds} rounds of {given.rows} rows", title_justify="left")
    for name in ("method", "way", "steps", "median s", "of trl's own", "asked"):
        table.add_column(name, justify="left" if name in ("method", "way") else "right")
    for (method, way), seconds in found.items():
        ratio, asked = "", ""
        if way in RATIOS:
            against, most = RATIOS[way]
            ratio = f"{statistics.median(seconds) / statistics.median(found[method, against]):.3f}"
            asked = "" if most is None else f"{most:.2f}"
        table.add_row(method, way, str(len(seconds)), f"{statistics.median(seconds):.3f}", ratio, asked)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
