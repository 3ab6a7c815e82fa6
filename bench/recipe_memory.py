"""Memory of a whole recipe with very many tasks: as sampling goes on, while rows are made, and at the end.

    python bench/recipe_memory.py [--tasks 100000] [--quick] [--teacher scripted|recorded] [--json FILE]

Tasks are a JSON Lines file of word problems, two attempts are drawn for each, one in four of them is wrong, and the
recipe goes the whole way: the answer checker, the filters, the rows on disk. The scripted teacher makes its answers
up and holds nothing; the recorded one holds its recording, which is shown as the memory that loading it took. Memory
is that of the run's own process (the answer checker's workers are apart, and bounded by `scorer.memory_mb`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

sys.path.append(str(Path(__file__).resolve().parents[1]))

from bench._core_side import facts, peak_mb
from stillroom.common.records import Completion, Request, Usage
from stillroom.pipeline.flows import traces as runner
from stillroom.pipeline.flows.run import run
from stillroom.pipeline.run.progress import Display
from stillroom.sampling.counts import Counts
from stillroom.sampling.limits import Meter
from stillroom.sampling.teachers.recorded import RecordedSettings

MB = 1e6
SHARES = (0.25, 0.5, 0.75, 1.0)
DRAWS = 2


class Look(NamedTuple):
    """Resident memory at a moment of the run."""

    when: str
    seconds: float
    rss_mb: float


def question(number: int) -> str:
    """A word problem of about 200 characters."""
    a, b = number % 97 + 2, number // 97 + 3
    return (
        f"A farm has {a} hens in the old barn, and the new barn that was built beside the river has {b} hens. On a "
        f"Monday all of them are counted by hand before the sun is up. How many hens does the farm have? ({number})"
    )


def answer(number: int) -> int:
    """What the problem of that number comes to."""
    return number % 97 + 2 + number // 97 + 3


def worked(number: int, index: int) -> str:
    """A worked answer of about 500 characters, wrong in one of four."""
    a, b = number % 97 + 2, number // 97 + 3
    said = a + b + (1 if (7 * number + index) % 4 == 0 else 0)
    return (
        f"First look at the old barn of problem {number}, where {a} hens are kept, as the text says at its start. "
        f"Then look at the new barn beside the river: it has {b} hens, and none of them was counted twice, since all "
        f"were counted before the sun was up. In attempt number {index} we add the two numbers, because the question "
        f"asks for all hens of the farm together and not for one barn alone. So the sum is {a} + {b} = {said}, and "
        f"that is how many hens there are.\n#### {said}"
    )


class Scripted:
    """A teacher that makes its answers up from the question's number and remembers nothing."""

    identity = "scripted"
    concurrency = 64

    async def sample(self, request: Request, usage: Usage) -> Completion:
        """An answer after one turn of the event loop."""
        await asyncio.sleep(0)
        number = int(request.messages[-1].content.rpartition("(")[2].removesuffix(")"))
        usage.prompt_tokens, usage.completion_tokens = 50, 120
        return Completion(worked(number, request.index), "stop", 50, 120)

    async def close(self) -> None:
        """Nothing to free."""


def made(*_: object, **__: object) -> Scripted:
    """In the place of the recipe's own teacher."""
    return Scripted()


def rss_mb() -> float:
    """Resident memory of this process now."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * 4096 / MB if pages.is_file() else peak_mb()


class Watch(Display):
    """Looks at the process when sampling starts, at each share of it, and whenever a stage says something."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.looks: list[Look] = []
        self._started = time.perf_counter()
        self.look("start")

    def look(self, when: str) -> None:
        """Prints and keeps one."""
        self.looks.append(Look(when, time.perf_counter() - self._started, rss_mb()))
        print(f"{when:<24} {self.looks[-1].seconds:8.1f} s {self.looks[-1].rss_mb:9.1f} MB", flush=True)

    def line(self, label: str, text: str) -> None:
        """A stage is done."""
        if label:
            self.look(f"after: {label}")

    @contextmanager
    def sampling(self, label: str, counts: Counts, meter: Meter | None = None) -> Iterator[None]:
        """Watches from a thread of its own: the event loop has no time to spare."""
        ended = threading.Event()
        self.look("sampling 0 %")
        thread = threading.Thread(target=self._follow, args=(counts, ended))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.look("sampling 100 %")

    def _follow(self, counts: Counts, ended: threading.Event) -> None:
        for share in SHARES[:-1]:
            while counts.finished < share * (counts.tasks_total or 1):
                if ended.wait(0.02):
                    return
            self.look(f"sampling {share:.0%}".replace("%", " %"))


def write(folder: Path, count: int, teacher: str) -> Path:
    """Tasks, a recording (of one task where the teacher is scripted), and the recipe, whose path is given."""
    with (folder / "tasks.jsonl").open("w", encoding="utf-8") as file:
        for n in range(count):
            file.write(json.dumps({"question": question(n), "answer": str(answer(n))}) + "\n")
    with (folder / "recording.jsonl").open("w", encoding="utf-8") as file:
        for n in range(count if teacher == "recorded" else 1):
            for index in range(DRAWS):
                file.write(json.dumps({"question": question(n), "text": worked(n, index)}) + "\n")
    recipe = {
        "name": "memory",
        "tasks": {"source": "jsonl", "path": "tasks.jsonl", "test": 100},
        "teacher": {"kind": "recorded", "path": "recording.jsonl", "prompt": "question"},
        "scorer": {"workers": 1},
        "keep": {"per_task": 1, "max_attempts": DRAWS},
        "filters": ["finished", "one_final_answer", "no_repetition", {"max_tokens": 512}, "dedup"],
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")  # JSON is YAML
    return folder / "recipe.yaml"


def measure(count: int, folder: Path, teacher: str) -> list[Look]:
    """The run; what was seen of it."""
    recipe = write(folder, count, teacher)
    watch = Watch()
    with patch.object(RecordedSettings, "make", made) if teacher == "scripted" else nullcontext():
        result = run(recipe, out=folder / "run", display=watch)
    assert isinstance(result, runner.RunResult)
    watch.look("end")
    print(f"{result.tasks:,} tasks, {result.attempts:,} attempts, {result.rows:,} rows")
    return watch.looks


def summary(looks: list[Look], count: int) -> dict[str, Any]:
    """What a task took, and the peak."""
    by = {look.when: look.rss_mb for look in looks}
    grown = by["sampling 100 %"] - by["sampling 0 %"]
    found = {
        "tasks": count,
        "loading_bytes_per_task": (by["sampling 0 %"] - by["start"]) * MB / count,
        "sampling_bytes_per_task": grown * MB / count,
        "peak_mb": peak_mb(),
        "peak_bytes_per_task": (peak_mb() - by["start"]) * MB / count,
    }
    for key, value in found.items():
        print(f"{key:<24} {value:,.0f}")
    return found


def main() -> None:
    """Parses the command line and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true", help="5,000 tasks")
    parser.add_argument("--teacher", choices=("scripted", "recorded"), default="scripted")
    parser.add_argument("--folder", type=Path, help="where the run goes; default: a temporary folder")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    o = parser.parse_args()
    count = 5_000 if o.quick else o.tasks
    print(facts())
    with tempfile.TemporaryDirectory(dir=o.folder) as name:
        looks = measure(count, Path(name), o.teacher)
    found = summary(looks, count)
    if o.json is not None:
        o.json.write_text(json.dumps({**found, "looks": [look._asdict() for look in looks]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
