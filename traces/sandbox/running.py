"""Runs one command with limits, in namespaces or not, and ends everything that it started.

    ended = run(Job(["python", "-c", "print(1)"], stdin=b"", descriptors=()), limits, Path("scratch"))
    ended.status, ended.cut, ended.output

The process that calls this must have no other children. It forks a guard, which leaves for the namespaces and forks
the first process of them, which forks the command: when the guard is killed, the kernel ends all of it. Without
namespaces the guard forks the command; what it leaves running becomes a child of the caller and is killed by it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn

from stillroom.sampling.workers.child import descendants
from stillroom.traces.sandbox import namespaces

KEPT = 4000
"""Bytes of the output that are kept, from its end."""
LOOK_EVERY_S = 0.05
GONE_WITHIN_S = 10.0
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
_OPEN_FILES = 256
_PATH = "/usr/local/bin:/usr/bin:/bin"

Cut = Literal["", "timeout", "memory", "processes"]


@dataclass(frozen=True)
class Limits:
    """`timeout_s`: of the clock, and of the processor. `memory_mb`: of each process and of all together. `processes`:
    at once, threads included where the kernel counts. `files_mb`: of all files in namespaces, else of each."""

    timeout_s: float
    memory_mb: int
    processes: int
    files_mb: int
    namespaces: bool


class Job(NamedTuple):
    """`descriptors`: those that the command keeps, besides its input and output."""

    command: Sequence[str]
    stdin: bytes
    descriptors: Sequence[int] = ()


class Ended(NamedTuple):
    """`status`: as of waitpid, None where it was killed by us or never ran. `cut`: the limit it was killed for.
    `output`: the end of what it printed. `error`: why it could not be run."""

    status: int | None
    cut: Cut
    output: str
    error: str


class _Pipes(NamedTuple):
    """Between the caller and the guard. `go`: the caller has mapped the users; `told`: what the guard says."""

    go_out: int
    go_in: int
    told_out: int
    told_in: int
    output_out: int
    output_in: int


def adopt_orphans() -> None:
    """What is left by children becomes ours, so that it can be found and killed (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1)


def run(job: Job, limits: Limits, base: Path) -> Ended:
    """Runs a job in a folder below `base` that is removed afterwards.

    Raises OSError where not even a process or a folder can be made.
    """
    with contextlib.ExitStack() as ending, tempfile.TemporaryFile() as stdin:
        folder = Path(tempfile.mkdtemp(dir=base))
        ending.callback(remove, folder)
        pipes = _Pipes(*os.pipe(), *os.pipe(), *os.pipe())
        for end in pipes:
            ending.callback(os.close, end)
        stdin.write(job.stdin)
        stdin.seek(0)
        guard = os.fork()
        if guard == 0:
            _guard(job, limits, folder, pipes, stdin.fileno())
        started = list[int]()
        try:
            return _watch(guard, limits, pipes, started)
        finally:
            if sys.platform != "linux":  # where processes below this one cannot be looked up
                for command in started:
                    _signal(-command, signal.SIGKILL)
            kill_all()


def kill_all() -> None:
    """Kills all processes below this one, until none is left."""
    deadline = time.monotonic() + GONE_WITHIN_S
    while time.monotonic() < deadline:
        left = descendants(os.getpid())
        for pid in left:  # stopped first: what cannot run cannot fork while the others are killed
            _signal(pid, signal.SIGSTOP)
        for pid in left:
            _signal(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def remove(folder: Path) -> None:
    """Removes a folder, even where the code has taken away the rights to what is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        folder.chmod(0o700)
        for parent, names, _ in os.walk(folder):  # from above: a folder is opened before it is entered
            for name in names:
                inner = Path(parent, name)
                if not inner.is_symlink():  # it may lead to a folder of the user's
                    inner.chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)


# -- the caller's side -------------------------------------------------------------------------------------------


def _watch(guard: int, limits: Limits, pipes: _Pipes, started: list[int]) -> Ended:
    """Waits for the end, reads the output, and looks at the limits. `started`: gets the command's process id."""
    deadline, look = time.monotonic() + limits.timeout_s, 0.0
    output, told = b"", b""
    while True:
        now = time.monotonic()
        if now >= deadline:
            return Ended(None, "timeout", _text(output), "")
        if now >= look:
            look = now + LOOK_EVERY_S
            if cut := _over(guard, limits):
                return Ended(None, cut, _text(output), "")
        ready = select.select([pipes.output_out, pipes.told_out], [], [], LOOK_EVERY_S)[0]
        if pipes.output_out in ready:
            output = (output + os.read(pipes.output_out, 1 << 16))[-KEPT:]
            if pipes.told_out not in ready:
                continue
        if pipes.told_out in ready:
            told += os.read(pipes.told_out, 4096)
        while b"\n" in told:
            line, _, told = told.partition(b"\n")
            said = json.loads(line)
            if said == "mapping":
                error = ""
                try:
                    namespaces.map_users(guard)
                except OSError as refused:
                    error = f"users cannot be mapped: {refused.strerror}"
                os.write(pipes.go_in, json.dumps(error).encode() + b"\n")
                continue
            if "started" in said:
                started.append(said["started"])
                continue
            return Ended(said.get("status"), "", _text(output + _rest(pipes.output_out)), said.get("error", ""))
        if os.waitpid(guard, os.WNOHANG)[0]:
            if select.select([pipes.told_out], [], [], 0)[0]:
                continue
            return Ended(None, "", _text(output), "the process that watches over the code was killed")


def _rest(descriptor: int) -> bytes:
    """What is left in the pipe; others may still hold its other end."""
    rest = b""
    for _ in range(64):
        if not select.select([descriptor], [], [], 0)[0]:
            break
        rest = (rest + os.read(descriptor, 1 << 16))[-KEPT:]
    return rest


def _over(guard: int, limits: Limits) -> Cut:
    """The limit that all processes together have passed."""
    pids = [pid for pid in descendants(os.getpid()) if pid != guard]
    if len(pids) > limits.processes + limits.namespaces:  # the first process of the namespace is ours
        return "processes"
    used = 0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError, ValueError):
            resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[1:3]
            used += int(resident) - int(shared)
    return "memory" if used * os.sysconf("SC_PAGE_SIZE") > limits.memory_mb << 20 else ""


def _text(output: bytes) -> str:
    return output[-KEPT:].decode("utf-8", "replace")


# -- the guard's side --------------------------------------------------------------------------------------------


def _guard(job: Job, limits: Limits, folder: Path, pipes: _Pipes, stdin: int) -> NoReturn:
    """Never returns. What goes wrong is told to the caller."""
    try:
        os.setsid()  # else the command could kill the caller with its group
        if sys.platform == "linux":
            namespaces.die_with_parent(signal.SIGKILL)
        if not limits.namespaces:
            _start(job, limits, folder, pipes, stdin)
        namespaces.leave(lambda: _be_mapped(pipes))
        first = os.fork()
        if first:
            os.waitpid(first, 0)
            os._exit(0)
        namespaces.die_with_parent(signal.SIGKILL)
        namespaces.build_root(folder, limits.files_mb)
        _start(job, limits, Path(namespaces.WORK), pipes, stdin)
    except BaseException as error:  # noqa: BLE001 - nothing of this process may go on in the caller's code
        _tell(pipes, {"error": f"{type(error).__name__}: {error}"})
        os._exit(1)


def _be_mapped(pipes: _Pipes) -> None:
    os.write(pipes.told_in, b'"mapping"\n')
    answer = b""
    while not answer.endswith(b"\n"):
        answer += os.read(pipes.go_out, 1) or b"\n"
    if error := json.loads(answer):
        raise OSError(error)


def _start(job: Job, limits: Limits, folder: Path, pipes: _Pipes, stdin: int) -> NoReturn:
    """Forks the command and waits for it, and for whatever else becomes a child meanwhile."""
    command = os.fork()
    if command == 0:
        try:
            _become(job, limits, folder, pipes, stdin)
        except BaseException as error:  # noqa: BLE001 - as in `_guard`
            _tell(pipes, {"error": f"{type(error).__name__}: {error}"})
            os._exit(1)
    if not limits.namespaces:
        _tell(pipes, {"started": command})
    while True:
        pid, status = os.wait()
        if pid == command:
            _tell(pipes, {"status": status})
            os._exit(0)


def _become(job: Job, limits: Limits, folder: Path, pipes: _Pipes, stdin: int) -> NoReturn:
    """Turns this process into the command."""
    os.setsid()
    os.chdir(folder)
    for source, target in ((stdin, 0), (pipes.output_in, 1), (pipes.output_in, 2)):
        os.dup2(source, target)
    for descriptor in job.descriptors:
        os.set_inheritable(descriptor, True)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _limit(limits)
    if sys.platform == "linux":
        if limits.namespaces:
            namespaces.become_nobody()
        namespaces.die_with_parent(signal.SIGKILL)  # last: a change of user forgets it
    # No keys, nothing that differs between machines; one thread each for libraries that start as many as cores.
    environment = {"PATH": _PATH, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    os.execve(job.command[0], list(job.command), {**environment, "HOME": str(folder), "TMPDIR": str(folder)})


def _limit(limits: Limits) -> None:
    import resource

    wanted = [
        (resource.RLIMIT_AS, limits.memory_mb << 20),
        (resource.RLIMIT_CPU, int(limits.timeout_s) + 1),
        (resource.RLIMIT_FSIZE, limits.files_mb << 20),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ]
    if limits.namespaces:
        major, minor = os.uname().release.split(".")[:2]
        # Before 5.14 the kernel counted a user's processes outside the namespace as well.
        if (int(major), int("".join(filter(str.isdigit, minor)) or 0)) >= (5, 14):
            wanted.append((resource.RLIMIT_NPROC, limits.processes + 1))
    for kind, value in wanted:
        with contextlib.suppress(ValueError, OSError):  # a limit that is set lower already stays
            resource.setrlimit(kind, (value, value))


def _tell(pipes: _Pipes, said: Mapping[str, object]) -> None:
    os.write(pipes.told_in, json.dumps(said).encode() + b"\n")
