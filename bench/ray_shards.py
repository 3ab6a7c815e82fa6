"""One run in several processes against one: `python bench/ray_shards.py [--tasks 3000] [--slots 12] [--json FILE]`.

A scripted teacher in a file, which waits and answers; sums of which some are wrong, one to three draws a task. Four
runs, each a `stillroom run` of its own: in one process, on one shard, on three shards (the same slots in all), and on
three shards of which a worker is killed twice and the driver once, all by SIGKILL, and the same command goes on. Of
each: seconds, whether the rows are those of the first byte for byte, and how many requests were answered more than
once. Asked for: three shards at most 1.05 of one process, one shard at most 1.03, nothing paid twice beyond what was
in flight. Seconds include the start of Ray and of its workers. The control is the first run once more.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

TEACHER = """
import asyncio, hashlib, os, pathlib

LOG = pathlib.Path(__file__).parent / "asked.log"
SEEN = {}

async def teacher(messages, sampling):
    text = messages[-1]["content"]
    SEEN[text] = SEEN.get(text, 0) + 1
    told = hashlib.sha256(f"{text} {SEEN[text]}".encode()).digest()
    await asyncio.sleep(LATENCY * (0.5 + told[0] / 255))
    with LOG.open("a") as file:
        file.write(text + "\\n")
    a, b = (int(word) for word in text.split() if word.isdigit())
    right = hashlib.sha256(text.encode()).digest()[1] % 3
    return f"#### {a + b if right else a - b}"
"""
LATENCY_S = 0.5


class Ran(NamedTuple):
    """`answered`: requests that the teacher answered; `again`: answers more than the first run needed."""

    seconds: float
    answered: int
    rows: str


def write(folder: Path, tasks: int, slots: int) -> Path:
    with (folder / "tasks.jsonl").open("w", encoding="utf-8") as file:
        for n in range(tasks):
            file.write(json.dumps({"q": f"What is {n} + {n + 7} ?", "a": str(2 * n + 7)}) + "\n")
    (folder / "teacher.py").write_text(TEACHER.replace("LATENCY *", f"{LATENCY_S} *"), encoding="utf-8")
    recipe = folder / "sums.yaml"
    recipe.write_text(
        "name: sums\n"
        "tasks: {source: jsonl, path: tasks.jsonl, prompt: q, reference: a, test: 5}\n"
        f'teacher: {{kind: python, path: "teacher.py:teacher", concurrency: {slots}}}\n'
        "keep: {per_task: 1, max_attempts: 2}\n",
        encoding="utf-8",
    )
    return recipe


def started(recipe: Path, out: str, shards: int | None) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "stillroom",
        "run",
        str(recipe),
        "--trust",
        "--quiet",
        "--out",
        str(recipe.parent / out),
    ]
    return subprocess.Popen([*command, *(["--shards", str(shards)] if shards else [])], stdout=subprocess.DEVNULL)


def ran(recipe: Path, out: str, shards: int | None, kills: bool = False) -> Ran:
    log = recipe.parent / "asked.log"
    log.unlink(missing_ok=True)
    began = time.monotonic()
    process = started(recipe, out, shards)
    if kills:
        process = killed(process, recipe, out, shards or 1, log)
    if process.wait():
        raise SystemExit(f"the run {out} ended with {process.returncode}")
    took = time.monotonic() - began
    answered = Counter(log.read_text(encoding="utf-8").splitlines())
    rows = hashlib.sha256((recipe.parent / out / "sft" / "train.parquet").read_bytes()).hexdigest()
    return Ran(took, answered.total(), rows)


def killed(
    process: subprocess.Popen[bytes], recipe: Path, out: str, shards: int, log: Path
) -> subprocess.Popen[bytes]:
    """Kills a worker at a fifth and at two fifths of the answers, the driver at three fifths; gives the driver that
    goes on."""
    total = sum(1 for _ in (recipe.parent / "tasks.jsonl").open())
    for part in (0.2, 0.4):
        until(log, part * total)
        victim = workers()[0]
        os.kill(victim, signal.SIGKILL)
        print(f"killed the worker {victim} after {lines(log):,} answers", file=sys.stderr)
    until(log, 0.6 * total)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    print(f"killed the driver after {lines(log):,} answers", file=sys.stderr)
    end = time.monotonic() + 60
    while workers() and time.monotonic() < end:  # Ray ends what has lost its driver
        time.sleep(0.2)
    if left := workers():
        raise SystemExit(f"{len(left)} workers outlived their driver")
    return started(recipe, out, shards)


def until(log: Path, count: float) -> None:
    while lines(log) < count or not workers():
        time.sleep(0.1)


def lines(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


def workers() -> list[int]:
    """Processes of Ray that work on a shard."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if (folder / "cmdline").read_bytes().startswith(b"ray::ShardOfRun"):
                    found.append(int(folder.name))
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=3000)
    parser.add_argument("--slots", type=int, default=12)
    parser.add_argument("--json", type=Path)
    given, console = parser.parse_args(), Console(width=100)
    with tempfile.TemporaryDirectory() as work:
        recipe = write(Path(work), given.tasks, given.slots)
        found = {
            "one process": ran(recipe, "one", None),
            "one shard": ran(recipe, "shard", 1),
            "three shards": ran(recipe, "three", 3),
            "three shards, killed": ran(recipe, "killed", 3, kills=True),
            "one process again": ran(recipe, "again", None),
        }
    first = found["one process"]
    table = Table("", "seconds", "ratio", "answered", "twice", "rows", box=None)
    for name, each in found.items():
        twice, rows = f"{each.answered - first.answered:,}", "same" if each.rows == first.rows else "OTHER"
        table.add_row(
            name, f"{each.seconds:.1f}", f"{each.seconds / first.seconds:.3f}", f"{each.answered:,}", twice, rows
        )
    console.print(table)
    if given.json:
        given.json.write_text(json.dumps({name: each._asdict() for name, each in found.items()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
