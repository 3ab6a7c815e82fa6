"""What this machine has and does: the memory that is left for a training, and how fast it computes.

    memory("cpu").free                                    # bytes, within the limits of a container
    speed("cpu", "bfloat16", 576, 1536).seconds(cost)     # of one pass

Speeds are measured in a third of a second, once a process for each kind of number, and touch no random state.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.students.estimate.dry_pass import Cost

MEASURED_S = 0.1
"""How long each of the three is measured."""
TOKENS = 512
"""Rows of the matrices that are multiplied, about those of a batch on a CPU."""
WRITTEN = 1 << 22
"""Numbers that the measured copy writes: more than a cache holds."""


class Room(NamedTuple):
    """Memory in bytes. `free`: what a training may still take; `total`: of the machine, or its container."""

    free: int
    total: int


class Speed(NamedTuple):
    """Per second: floating point operations in matrix products, bytes that other operations write, and calls of
    operations that do next to nothing. `queued`: calls are made while others compute, as on a GPU."""

    flops: float
    written: float
    calls: float
    queued: bool = False

    def seconds(self, cost: Cost) -> float:
        """Of a pass."""
        computing, calling = cost.flops / self.flops + cost.moved / self.written, cost.calls / self.calls
        return max(computing, calling) if self.queued else computing + calling


def memory(device: str) -> Room | None:
    """Of the GPU, or of the machine within the limit of its container; None where the system does not say."""
    if device != "cpu":
        import torch

        return Room(*torch.cuda.mem_get_info(device))
    found = _of_the_system()
    if found is None:
        return None
    limits = [limit for limit in map(_of_a_group, _groups()) if limit is not None]
    return Room(min([found.free, *(each.free for each in limits)]), min([found.total, *(e.total for e in limits)]))


def _of_the_system(file: Path = Path("/proc/meminfo")) -> Room | None:
    """As Linux says it; elsewhere all that is there counts as free."""
    try:
        lines = dict(line.split(":", 1) for line in file.read_text(encoding="ascii").splitlines())
        return Room(*(int(lines[name].split()[0]) << 10 for name in ("MemAvailable", "MemTotal")))
    except (OSError, KeyError, ValueError):
        pages = os.sysconf("SC_PHYS_PAGES") if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}) else 0
        return Room(*[pages * os.sysconf("SC_PAGE_SIZE")] * 2) if pages > 0 else None


def _groups(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[Path]:
    """The control groups that this process is in and those above them, as folders that may limit memory."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found: list[Path] = []
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds in ("", "memory"):  # the second and the first version of control groups
            top = root / kinds
            folder = top / path.strip("/")
            found += [each for each in (folder, *folder.parents) if each == top or top in each.parents]
    return found


def _of_a_group(folder: Path) -> Room | None:
    """The limit of a control group; None for none. Cached files are given back under pressure, so they are free."""
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        try:
            total, taken = (int((folder / name).read_text(encoding="ascii")) for name in (limit, used))
            stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        except (OSError, ValueError):  # `max` is no number
            continue
        cached = int(stat.get("inactive_file", 0)) + int(stat.get("active_file", 0))
        return Room(max(0, total - taken + cached), total)
    return None


@cache
def speed(device: str, dtype: str, width: int, inner: int) -> Speed:
    """Measures products of (tokens, width) and (width, inner), as a layer has them."""
    import torch

    kind = getattr(torch, dtype)
    tokens = TOKENS if device == "cpu" else 16 * TOKENS
    left, right = (torch.ones(*shape, dtype=kind, device=device) for shape in ((tokens, width), (width, inner)))
    many = WRITTEN if device == "cpu" else 16 * WRITTEN
    numbers, one = torch.ones(many, device=device), torch.ones(1, device=device)
    return Speed(
        flops=2 * tokens * width * inner * _rate(lambda: left @ right, device),
        written=4 * many * _rate(lambda: numbers * 2, device),
        calls=_rate(lambda: one * 2, device),
        queued=device != "cpu",
    )


def _rate(do: Callable[[], Any], device: str) -> float:
    """How often a second."""
    import torch

    wait = torch.cuda.synchronize if device != "cpu" else lambda: None
    do()
    wait()
    began, times = time.perf_counter(), 0
    while True:
        for _ in range(4):
            do()
        times += 4
        wait()
        if (taken := time.perf_counter() - began) > MEASURED_S:
            return times / taken
