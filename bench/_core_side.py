"""How both sides of the core's benches are driven: the server and each client in a process of its own, and measured.

Processor time is what the kernel says of the ended process, with the children it waited for; the peak of the memory
is the client's own word (VmHWM: `ru_maxrss` would begin with that of the process that started it). The wall goes from
before the start of the process to its end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import resource
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
LIMIT_S = 240.0
"""A client that runs longer is killed: the bench must end."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a client is told. `out`: its file of answers, or its run folder. `policy`: "fixed" or "until"."""

    data: Path
    url: str
    tasks: int
    draws: int
    slots: int
    out: Path
    max_tokens: int
    timeout_s: float
    policy: str
    watch: bool
    profile: bool


class Ended(NamedTuple):
    """A client that has ended. `wall_s` with start-up and end; `cpu_s` with its children; `said`: its last line."""

    wall_s: float
    cpu_s: float
    said: dict[str, Any]
    killed: bool

    @property
    def rss_mb(self) -> float:
        """Peak resident memory of the client, in MB (10^6 bytes)."""
        return float(self.said["rss_mb"])


def options(argv: Sequence[str] | None = None) -> Options:
    """The command line of a client."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--url", required=True)
    parser.add_argument("--tasks", type=int, required=True)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--timeout-s", type=float, default=600.0)
    parser.add_argument("--policy", choices=["fixed", "until"], default="fixed")
    parser.add_argument("--watch", action="store_true", help="keep a record of what was asked and received")
    parser.add_argument("--profile", action="store_true", help="print where the time goes, to the error stream")
    return Options(**vars(parser.parse_args(argv)))


def finish(**said: Any) -> None:
    """What a client says at its end: what it counted, and its peak memory."""
    print(json.dumps(said | {"rss_mb": peak_mb()}), flush=True)


def peak_mb() -> float:
    """Peak resident memory of this process since it began, in MB (10^6 bytes)."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.is_file() else None
    kib = int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib * 1024 / 1e6


def run(script: str, arguments: Sequence[object], kill_after_s: float | None = None) -> Ended:
    """Runs a client to its end, or kills it (SIGKILL) after so many seconds."""
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    return wait(
        process, started, LIMIT_S if kill_after_s is None else kill_after_s, expected=kill_after_s is not None
    )


def wait(process: subprocess.Popen[bytes], started: float, limit_s: float, *, expected: bool = False) -> Ended:
    """Waits for a client; kills it at the limit. Raises RuntimeError where it failed, or was late unexpectedly."""
    timer = threading.Timer(limit_s, process.kill)
    timer.start()
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    timer.cancel()
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and not (expected and process.returncode == -9):
        raise RuntimeError(f"{process.args!r} ended with {process.returncode} after {wall:.0f} s")
    lines = said.splitlines()
    return Ended(
        wall, usage.ru_utime + usage.ru_stime, json.loads(lines[-1]) if lines else {}, process.returncode != 0
    )


class Server:
    """The server's process as its clients see it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"
        self._root = f"http://127.0.0.1:{port}/bench"

    def reset(self) -> None:
        """Forgets what was asked."""
        with urllib.request.urlopen(f"{self._root}/reset", data=b"") as answer:
            answer.read()

    def log(self) -> dict[str, Any]:
        """What was asked since."""
        with urllib.request.urlopen(f"{self._root}/log") as answer:
            return dict(json.loads(answer.read()))


@contextlib.contextmanager
def server(data: Path, **settings: object) -> Iterator[Server]:
    """A server for the while. `settings`: its options by name; True for a switch."""
    named = [
        part
        for key, value in settings.items()
        if value is not False
        for part in ([f"--{key}"] if value is True else [f"--{key}", str(value)])
    ]
    command = [sys.executable, str(HERE / "_core_server.py"), str(data), *named]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Server(int(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.kill()
        process.wait()
        process.stdout.close()


def facts(*packages: str) -> str:
    """The date, the machine, its load and the versions."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.is_file() else []
    cpu = names[0] if names else platform.processor() or platform.machine()
    versions = ", ".join(f"{package} {_version(package)}" for package in packages)
    load = f"load {os.getloadavg()[0]:.1f} now"
    return f"{date.today()}; {os.cpu_count()} cores, {cpu}, {load}; Python {platform.python_version()}, {versions}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
