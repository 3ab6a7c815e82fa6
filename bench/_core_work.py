"""What the benches of the core work on: recorded GSM8K solutions as tasks, and how long each draw takes a server.

A latency depends on the task and the draw alone, so every client waits for the same; its draws differ from run to run
in nothing. The ideal is list scheduling: the draws in their order, each to the slot that is free first.

>>> round(makespan([3.0, 1.0, 1.0, 1.0], slots=2), 1)
3.0
"""

from __future__ import annotations

import heapq
import json
import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from stillroom.common.hashing import draw_seed
from stillroom.common.records import Task, user

RUN_SEED = 7
COLUMNS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
MORE_DRAWS = 8
"""A policy may draw beyond what was planned: the server knows so many more draws of each task."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One recorded problem, its gold answer, and its four recorded solutions."""

    question: str
    gold: str
    solutions: tuple[str, ...]


class Load(NamedTuple):
    """What is asked of a client: `tasks` times `draws`; latencies in seconds, lognormal; `slots` in flight."""

    tasks: int
    draws: int
    slots: int
    median_s: float
    sigma: float


class Draw(NamedTuple):
    """One draw that the server can answer."""

    task: int
    place: int


def problems(data: Path) -> list[Problem]:
    """The recorded problems in the folder `data`."""
    lines = (data / "gsm8k" / "graded_solutions_dev.jsonl").read_text(encoding="utf-8").splitlines()
    return [_problem(json.loads(line)) for line in lines]


def _problem(row: dict[str, object]) -> Problem:
    solutions = tuple(str(row[name]["solution"]) for name in COLUMNS)  # type: ignore[index]
    return Problem(str(row["question"]), str(row["ground_truth"]).rpartition("A:")[2].strip(), solutions)


def task_id(number: int) -> str:
    """The id of the task with that number."""
    return f"gsm8k-{number}"


def tasks(found: list[Problem], count: int) -> Iterator[Task]:
    """`count` tasks; beyond the recorded ones they come round again, told apart by a remark."""
    for number in range(count):
        yield Task(task_id(number), user(question(found, number)), found[number % len(found)].gold, "bench")


def question(found: list[Problem], number: int) -> str:
    """What task `number` asks."""
    again = number // len(found)
    return found[number % len(found)].question + (f" (Round {again + 1}.)" if again else "")


def by_seed(tasks: int, draws: int) -> dict[int, Draw]:
    """The draws by the seed that a client sends along. Raises ValueError where two share one."""
    found = {draw_seed(RUN_SEED, task_id(t), i): Draw(t, i) for t in range(tasks) for i in range(draws)}
    if len(found) != tasks * draws or 0 in found:
        raise ValueError(f"two of {tasks * draws} draws share a seed: choose another RUN_SEED than {RUN_SEED}")
    return found


def latency_s(load: Load, draw: Draw) -> float:
    """Seconds that the server takes over a draw."""
    return random.Random(f"latency:{draw.task}:{draw.place}").lognormvariate(math.log(load.median_s), load.sigma)


def latencies_s(load: Load) -> list[float]:
    """Those of all planned draws, task by task."""
    return [latency_s(load, Draw(t, i)) for t in range(load.tasks) for i in range(load.draws)]


def makespan(latencies: Iterable[float], slots: int) -> float:
    """Seconds that list scheduling takes."""
    free = [0.0] * slots
    for seconds in latencies:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)
