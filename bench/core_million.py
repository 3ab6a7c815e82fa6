"""A million scripted tasks through the core, with a real ledger on disk: memory and tasks per second.

    python bench/core_million.py [--tasks 1000000] [--quick] [--profile] [--folder DIR] [--json FILE]

The teacher answers after one turn of the event loop, the scorer compares; tasks come from a generator, outcomes go
to a file. Resident memory is read every 50,000 tasks. The control is the same loop without core and ledger: what
the interpreter, the tasks, the teacher and the scorer take by themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[1]))

from bench._core_side import facts, peak_mb
from stillroom.common.records import (
    Attempt,
    Completion,
    Outcome,
    Request,
    SamplingParams,
    State,
    Task,
    Usage,
    Verdict,
    user,
)
from stillroom.sampling.core import Core
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.policy import Until

EVERY = 50_000
MB = 1e6


class Sample(NamedTuple):
    """A look at the process: tasks finished, seconds since the start, resident memory and ledger in MB."""

    tasks: int
    seconds: float
    rss_mb: float
    ledger_mb: float


class Instant:
    """A teacher that answers at once and remembers nothing: three of four answers are right."""

    identity = "instant"
    concurrency = 256

    async def sample(self, request: Request, usage: Usage) -> Completion:
        await asyncio.sleep(0)
        right = request.seed % 4
        usage.prompt_tokens, usage.completion_tokens = 20, 60
        return Completion(f"Step by step we find it. {'so ' * 60}\n#### {int(right > 0)}", "stop", 20, 60)

    async def close(self) -> None:
        """Nothing to free."""


class Compare:
    """A scorer that looks at the last letter."""

    identity = "compare"

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        right = attempt.text[-1] == task.reference
        return Verdict(State.ACCEPTED if right else State.REJECTED, "equal" if right else "different", float(right))

    async def close(self) -> None:
        """Nothing to free."""


def tasks(count: int) -> Iterator[Task]:
    """As many tasks, made one by one."""
    for number in range(count):
        yield Task(f"t{number}", user(f"What is the answer to question number {number}?"), "1", "scripted")


def resident_mb() -> float:
    """Resident memory of this process now."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * 4096 / MB if pages.is_file() else peak_mb()


class Progress:
    """Counts outcomes, writes them to a file, and looks at the process every so often."""

    def __init__(self, out: IO[str], folder: Path, every: int) -> None:
        self.samples: list[Sample] = []
        self._out, self._folder, self._every = out, folder, every
        self._done, self._started = 0, time.perf_counter()
        self.look()

    def took(self, outcome: Outcome) -> None:
        """An outcome: `on_outcome` of the core."""
        line = {"task": outcome.task.id, "kept": outcome.kept, "stop": outcome.stop}
        self._out.write(json.dumps(line) + "\n")
        self._done += 1
        if self._done % self._every == 0:
            self.look()

    def look(self) -> None:
        """Prints and keeps a sample."""
        ledger = sum(path.stat().st_size for path in self._folder.glob("ledger.sqlite*")) / MB
        self.samples.append(Sample(self._done, time.perf_counter() - self._started, resident_mb(), ledger))
        done, seconds, rss, size = self.samples[-1]
        last = self.samples[-2] if len(self.samples) > 1 else None
        rate = (done - last.tasks) / (seconds - last.seconds) if last else 0.0
        print(f"{done:10,} tasks {seconds:7.1f} s {rate:7,.0f}/s {rss:7.1f} MB  ledger {size:8.1f} MB", flush=True)


async def through_core(count: int, folder: Path, progress: Progress) -> dict[str, Any]:
    """All tasks through the core; says what it counted."""
    with Ledger.open(folder) as ledger:
        policy = Until(per_task=1, max_attempts=4)
        core = Core(Instant(), Compare(), policy, ledger, sampling=SamplingParams(), seed=0)
        await core.run(tasks(count), progress.took)
        return core.counts.as_dict()


async def bare(count: int) -> float:
    """Tasks per second of teacher and scorer alone, one after the other."""
    teacher, scorer, started = Instant(), Compare(), time.perf_counter()
    for task in tasks(count):
        request = Request(task.id, 0, task.messages, SamplingParams(), hash(task.id) & 0xFFFF)
        c = await teacher.sample(request, Usage())
        attempt = Attempt(task.id, 0, c.text, None, c.finish_reason, 20, 60, None, 0.0, teacher.identity)
        await scorer.score(task, attempt)
    return count / (time.perf_counter() - started)


def measure(count: int, folder: Path, every: int, profile: bool) -> list[Sample]:
    """The run; prints and returns its samples."""
    with open(folder / "outcomes.jsonl", "w", encoding="utf-8") as out:
        progress = Progress(out, folder, every)
        counts = watched(lambda: asyncio.run(through_core(count, folder, progress)), profile)
    progress.look()
    print(f"counts: { {k: v for k, v in counts.items() if v} }")
    return progress.samples


def watched(work: Callable[[], dict[str, Any]], profile: bool) -> dict[str, Any]:
    """Runs it, under cProfile where asked for."""
    if not profile:
        return work()
    import cProfile
    import pstats

    profiler = cProfile.Profile()
    found = profiler.runcall(work)
    pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(40)
    return found


def summary(samples: list[Sample]) -> None:
    """Memory over the run: from a tenth of it to its end, and its slope."""
    first, last = next(s for s in samples if s.tasks >= samples[-1].tasks / 10), samples[-1]
    span = (last.tasks - first.tasks) / 1e6
    slope = (last.rss_mb - first.rss_mb) / span if span else 0.0
    print(f"\n{last.tasks:,} tasks in {last.seconds:.0f} s: {last.tasks / last.seconds:,.0f} tasks/s")
    print(f"peak memory {peak_mb():.0f} MB; from {first.tasks:,} tasks on {slope:+.1f} MB per million tasks")
    print(f"ledger {last.ledger_mb:,.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="20,000 tasks")
    parser.add_argument("--profile", action="store_true", help="under cProfile: its speed is not a measurement")
    parser.add_argument(
        "--folder", type=Path, help="where the ledger goes while it runs; default: a temporary folder"
    )
    parser.add_argument("--json", type=Path, help="write the samples to this file")
    o = parser.parse_args()
    count = 20_000 if o.quick else o.tasks
    print(facts())
    print(f"control, no core and no ledger: {asyncio.run(bare(20_000)):,.0f} tasks/s")
    with tempfile.TemporaryDirectory(dir=o.folder) as name:
        samples = measure(count, Path(name), min(EVERY, count // 4), o.profile)
    summary(samples)
    if o.json:
        o.json.write_text(json.dumps([s._asdict() for s in samples], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
