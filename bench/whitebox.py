"""What white-box distillation costs on this machine: `python bench/whitebox.py [--only steps|memory|cache]`.

`steps`: CPU seconds of a step with soft labels, from the cache and from a teacher that is asked in every batch, over
those of SFT; ways take turns, `--rounds` times, and the median of all their steps counts. Asked for: from the cache
at most 1.15 of SFT, dense at most 1.05 of SFT and one pass of the teacher. The control is SFT against itself.
`cache`: bytes a token and gradient cosine of the cache, next to the sizes of published formats; `--data`: a file
of GSM8K.
`memory`: what a loss over V = 151,936 tokens and 4,096 positions adds to the peak, next to the naive loss.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
TEACHER = "embedded:smollm2-135m-instruct"
TOKENS, VOCABULARY, WIDTH = 4096, 151_936, 576


def child(script: str, *given: object) -> dict[str, Any]:
    """What a way printed, run by itself with one thread."""
    command = [sys.executable, str(HERE / script), *map(str, given)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr.strip()[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def steps(console: Console, rounds: int) -> dict[str, float]:
    found = defaultdict[str, list[float]](list)
    for _ in range(rounds):
        for way in ("sft", "cached", "dense", "teacher", "sft again"):
            found[way] += child("_whitebox_steps.py", way.split()[0], TEACHER)["cpu_s"]
    took = {way: median(times) for way, times in found.items()}
    both = took["sft"] + took["teacher"]
    ratios = {
        "SFT, the control": took["sft again"] / took["sft"],
        "soft labels from the cache / SFT (asked: 1.15)": took["cached"] / took["sft"],
        "dense teacher / (SFT + its pass) (asked: 1.05)": took["dense"] / both,
    }
    table = Table("CPU seconds a step of 8 rows", "", box=None)
    for way, seconds in took.items():
        table.add_row(way, f"{seconds:.2f}")
    for name, ratio in ratios.items():
        table.add_row(name, f"{ratio:.3f}")
    console.print(table)
    return took | ratios


def memory(console: Console, tokens: int) -> dict[str, Any]:
    found = {way: child("_whitebox_memory.py", way, tokens, VOCABULARY, WIDTH) for way in ("ours", "naive")}
    table = Table(f"{tokens:,} positions, V = {VOCABULARY:,}, H = {WIDTH}", "peak, MB", "CPU, s", "loss", box=None)
    for way, of in found.items():
        table.add_row(way, f"{of['peak_mb']:,.0f}", f"{of['cpu_s']:.1f}", f"{of['loss']:.6f}")
    console.print(table)
    return found


# Of other tools, with the cosine of their loss on its own cache at T = 1, as docs/white_box.md has it.
PUBLISHED = {
    "DistillKit a61c2e7, budget (k = 50)": (117.5, 0.899),
    "DistillKit a61c2e7, recommended (k = 128)": (316.4, 0.998),
    "hidden states in bfloat16, H = 576 (KDFlow 3a7a21a)": (1152.0, 1.0),
}


def cache(console: Console, data: Path, rows: int) -> dict[str, Any]:
    found = child("_whitebox_cache.py", data, rows)
    positions = next(iter(found.values()))["positions"]
    table = Table(f"cache, {positions:,} positions", "tokens", "bytes", "cosine T = 1", "T = 2", box=None)
    for rule, of in found.items():
        near = (f"{of['cosine'][t]:.5f}" for t in ("1.0", "2.0"))
        table.add_row(rule, f"{of['tokens']:.1f}", f"{of['bytes']:.1f}", *near)
    for name, (size, cosine) in PUBLISHED.items():
        table.add_row(name, "", f"{size:,.1f}", f"{cosine:.3f}", "")
    console.print(table)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("steps", "memory", "cache"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=TOKENS, help="positions of the memory part")
    parser.add_argument("--data", type=Path, help="JSON Lines with question and answer, for the cache part")
    parser.add_argument("--rows", type=int, default=40, help="rows of the cache part")
    parser.add_argument("--out", type=Path, help="also write what was found as JSON")
    given, console, found = parser.parse_args(), Console(width=100), {}
    if given.only in (None, "memory"):
        found["memory"] = memory(console, given.tokens)
    if given.only in (None, "steps"):
        found["steps"] = steps(console, given.rounds)
    if given.only in (None, "cache") and given.data is not None:
        found["cache"] = cache(console, given.data, given.rows)
    elif given.only == "cache":
        parser.error("the cache part needs --data")
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
