"""Teacher tokens at equal coverage: drawing until k are accepted against a fixed number of draws, in simulated time.

    python bench/core_simulated.py [--quick] [--json FILE]

The core itself runs, with its ledger and policies; only the clock is simulated (an event loop whose time jumps to the
next event), so that 4,000 tasks with answers of minutes take seconds. Tasks have pass rates from a Beta distribution
and lengths that are lognormal and grow with difficulty; latency is proportional to length. Coverage: the share of
tasks that have k accepted. Cancelled tokens count, as far as they had been made.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import selectors
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent))

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
from stillroom.sampling.policy import Fixed, Policy, Until

K, CAP, SLOTS, TASKS = 4, 16, 64, 4_000
TOKENS_PER_S = 50.0
MIXES = {"Beta(2, .7)": (2.0, 0.7, 2.2), "Beta(.8, .8)": (0.8, 0.8, 1.45), "Beta(.5, 1.5)": (0.5, 1.5, 1.2)}
"""Distributions of pass rates, and how many times fewer tokens are asked for."""


class JumpingSelector(selectors.SelectSelector):
    """Waits for nothing: a time-out passes at once, on the loop's own clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """No events; the clock moves on by the time-out."""
        found = super().select(0)
        if not found:
            self.now += timeout or 0.0
        return found


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop in simulated time."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds since the loop began, simulated."""
        return self._jumping.now


@dataclass(frozen=True, slots=True)
class World:
    """Tasks as they truly are: pass rates in [0, 1], and median lengths in tokens."""

    rates_T: list[float]
    medians_T: list[float]

    @classmethod
    def of(cls, a: float, b: float, tasks: int, seed: int, growth: float) -> World:
        """Tasks with rates from Beta(a, b); the hardest are `growth` times as long as the easiest."""
        rng = random.Random(seed)
        rates = [rng.betavariate(a, b) for _ in range(tasks)]
        return cls(rates, [400 * growth ** (1 - rate) for rate in rates])

    def length(self, request: Request) -> int:
        """Completion tokens of a draw: lognormal, decided by its seed."""
        normal = random.Random(f"length {request.seed}").gauss(0, 0.6)
        return max(8, round(self.medians_T[int(request.task_id)] * math.exp(normal)))

    def right(self, request: Request) -> bool:
        """Whether a draw is right, decided by its seed."""
        return random.Random(f"right {request.seed}").random() < self.rates_T[int(request.task_id)]


class SimulatedTeacher:
    """Makes TOKENS_PER_S for each request, as a server with room for all slots does."""

    identity = "simulated"
    concurrency = SLOTS

    def __init__(self, world: World) -> None:
        self._world = world
        self.cancelled = 0
        self.made = 0

    async def sample(self, request: Request, usage: Usage) -> Completion:
        """Answers after the time that its tokens take."""
        loop = asyncio.get_running_loop()
        began, length = loop.time(), self._world.length(request)
        try:
            await asyncio.sleep(length / TOKENS_PER_S)
        except asyncio.CancelledError:
            usage.completion_tokens = round((loop.time() - began) * TOKENS_PER_S)
            usage.prompt_tokens = 0
            self.cancelled += usage.completion_tokens
            raise
        self.made += length
        return Completion("right" if self._world.right(request) else "wrong", "stop", 0, length)

    async def close(self) -> None:
        """Nothing to free."""


class Exact:
    """Accepts the word right."""

    identity = "exact"

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        """At once."""
        state = State.ACCEPTED if attempt.text == "right" else State.REJECTED
        return Verdict(state, state.value)

    async def close(self) -> None:
        """Nothing to free."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a policy used. `tokens`: made, cancelled ones included. `hours`: of simulated time."""

    policy: str
    tokens: int
    cancelled: int
    coverage: float
    hours: float
    busy: float


def tasks(count: int) -> Iterator[Task]:
    """Numbered tasks."""
    return (Task(str(k), user(f"task {k}"), "right", "simulated") for k in range(count))


def simulate(name: str, policy: Policy, world: World) -> Figures:
    """Runs the core under a policy."""
    teacher, satisfied = SimulatedTeacher(world), 0

    def note(outcome: Outcome) -> None:
        nonlocal satisfied
        satisfied += sum(s.verdict.state is State.ACCEPTED for s in outcome.attempts) >= K

    async def run() -> float:
        await core.run(tasks(len(world.rates_T)), note)
        return asyncio.get_running_loop().time()

    with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder)) as ledger:
        core = Core(teacher, Exact(), policy, ledger, sampling=SamplingParams(), seed=0)
        with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
            seconds = runner.run(run())
    total = teacher.made + teacher.cancelled
    busy = total / TOKENS_PER_S / (seconds * SLOTS)
    return Figures(name, total, teacher.cancelled, satisfied / len(world.rates_T), seconds / 3600, busy)


def policies() -> dict[str, Policy]:
    """The control, ours, and ours with giving up."""
    return {
        "fixed 16": Fixed(policy="fixed", attempts=CAP, per_task=K),
        "until 4 of 16": Until(per_task=K, max_attempts=CAP),
        "until 4 of 16, give_up_below .02": Until(per_task=K, max_attempts=CAP, give_up_below=0.02),
        "until 4 of 16, give_up_below .05": Until(per_task=K, max_attempts=CAP, give_up_below=0.05),
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="400 tasks")
    parser.add_argument("--growth", type=float, default=2.0, help="length of the hardest by the easiest")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    count = 400 if options.quick else TASKS
    print(f"{count:,} tasks, k = {K}, cap {CAP}, {SLOTS} slots, growth {options.growth:g}; cancelled tokens count\n")
    print(
        "| pass rates | policy | tokens (M) | cancelled | fewer | asked | coverage | simulated hours | slots busy |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    found: dict[str, Any] = {}
    for mix, (a, b, asked) in MIXES.items():
        world = World.of(a, b, count, seed=1, growth=options.growth)
        rows = [simulate(name, policy, world) for name, policy in policies().items()]
        found[mix] = [asdict(row) for row in rows]
        for row in rows:
            factor = rows[0].tokens / row.tokens
            print(
                f"| {mix} | {row.policy} | {row.tokens / 1e6:.2f} | {row.cancelled / row.tokens:.2%} | "
                f"{factor:.2f} × | {asked} × | {row.coverage:.2%} "
                f"({100 * (row.coverage - rows[0].coverage):+.2f}) | {row.hours:.2f} | {row.busy:.3f} |",
                flush=True,
            )
    print(f"\n{time.strftime('%Y-%m-%d')}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
