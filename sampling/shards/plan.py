"""Which shard a task belongs to, and what a worker needs to know to work on one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from stillroom.common.records import SamplingParams, Task
from stillroom.sampling.draws import Admits
from stillroom.sampling.limits import Prices
from stillroom.sampling.policy import Policy
from stillroom.sampling.rate_limit import RateLimits
from stillroom.sampling.scorers.base import ScorerBase
from stillroom.sampling.teachers.base import TeacherBase


class Shards(NamedTuple):
    """How many, and where: `address` of a Ray cluster (`auto`, `host:port`), None for this machine alone."""

    number: int
    address: str | None = None


class Job(NamedTuple):
    """What every worker of a run is given; it is sent to other processes. `base`: relative paths start there.
    `admits`: makes whether an accepted attempt may be kept. `trusted`: hashes of the user's code that may run.
    `again`: failures on record are asked again."""

    teacher: TeacherBase
    scorer: ScorerBase
    policy: Policy
    sampling: SamplingParams
    seed: int
    base: Path
    prices: Prices | None
    ahead: bool | int
    admits: Callable[[], Admits] | None
    trusted: frozenset[str]
    again: bool


def shard_of(task_id: str, number: int) -> int:
    """The same for the same id everywhere, whatever other tasks there are.

    >>> [shard_of(f"t{n}", 3) for n in range(6)]
    [0, 2, 1, 0, 0, 1]
    """
    return int.from_bytes(hashlib.sha256(task_id.encode("utf-8", "surrogatepass")).digest()[:8], "big") % number


def in_shards(tasks: Iterable[Task], number: int) -> list[list[Task]]:
    """The tasks of each shard, in their order."""
    found: list[list[Task]] = [[] for _ in range(number)]
    for task in tasks:
        found[shard_of(task.id, number)].append(task)
    return found


def slots_of(total: int, workers: int) -> list[int]:
    """Requests in flight for each worker, at least 1.

    >>> slots_of(64, 3)
    [22, 21, 21]
    """
    return [max(1, total // workers + (n < total % workers)) for n in range(workers)]


def with_its_share(teacher: TeacherBase, workers: int) -> TeacherBase:
    """The teacher with an even share of what its owner allows a minute."""
    limits = getattr(teacher, "rate_limits", None)
    if not isinstance(limits, RateLimits):
        return teacher
    share = {name: value / workers for name, value in limits if value is not None}
    return teacher.model_copy(update={"rate_limits": limits.model_copy(update=share)})
