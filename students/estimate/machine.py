"""The memory that is left for a training on this machine, in a container within its limit.

memory("cpu").free                                    # bytes
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Room(NamedTuple):
    """Memory in bytes. `free`: what a training may still take; `total`: of the machine, or its container."""

    free: int
    total: int


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
        except (OSError, ValueError):  # `max` is not a number
            continue
        cached = int(stat.get("inactive_file", 0)) + int(stat.get("active_file", 0))
        return Room(max(0, total - taken + cached), total)
    return None
