"""The worker process: `python -m stillroom.traces.answers.worker MEMORY_MB`. It reads pairs and writes reasons.

One JSON object a line, both ways: `{"gold", "answer", "policies", "prove", "limit_s"}` in, `{"reason", "detail"}`
out; the first line out says `{"ready": true}` or `{"error": ...}`. Formulas are untrusted: they travel as ASCII
JSON, and whatever the parser prints goes nowhere near the protocol.

It must die by itself, since nobody may be left to kill it:
- its input ends (the owner is gone): a thread sees that at once, even in the middle of a comparison;
- the time limit and a grace pass: the kernel's own alarm ends it, even in C code that never returns;
- memory: the address space is limited where the platform can (macOS ignores it).
PR_SET_PDEATHSIG is not used: it fires when the *thread* that started the worker ends, and that may be any thread.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from typing import Any, BinaryIO

from stillroom.errors import StillroomError
from stillroom.traces.answers.records import Reason

GRACE_S = 2.0
"""Seconds after the time limit at which the kernel ends a worker that its owner did not."""
START_S = 120.0
"""Seconds that a worker may take to load everything."""


def limit_resources(memory_mb: int) -> None:
    """Limits the address space, and forbids core dumps and files: a comparison has no business writing any."""
    try:
        import resource
    except ImportError:  # Windows has no such limits; the owner's time limit still holds
        return
    limits = ((resource.RLIMIT_AS, memory_mb << 20), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0))
    for kind, value in limits:
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):  # macOS refuses some of them; a limit already set lower stays
            continue


def set_alarm(seconds: float) -> None:
    """Arms the kernel's alarm (0 disarms it). Its default action ends the process without asking Python."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def private_output() -> BinaryIO:
    """The stream of the protocol. Whatever else prints finds /dev/null in its place."""
    stream = os.fdopen(os.dup(1), "wb", buffering=0)
    silence(1)
    return stream


def silence(descriptor: int) -> None:
    """Points a descriptor at /dev/null."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def write(stream: BinaryIO, message: dict[str, Any]) -> None:
    """Writes one line of the protocol."""
    stream.write(json.dumps(message).encode("ascii") + b"\n")


def read_jobs(jobs: queue.SimpleQueue[bytes]) -> None:
    """Passes on the lines of the input; ends the process when the input ends, whatever is going on."""
    for line in sys.stdin.buffer:
        jobs.put(line)
    os._exit(0)


def answer(line: bytes) -> tuple[dict[str, Any], bool]:
    """Does one job. Returns the reply, and whether this process can be trusted with another."""
    from stillroom.traces.answers import grade, symbolic
    from stillroom.traces.answers.policies import Policies

    job = json.loads(line)
    set_alarm(float(job["limit_s"]) + GRACE_S)
    confirm = symbolic.confirm if job["prove"] else symbolic.probe
    try:
        result = grade.rule(job["gold"], job["answer"], Policies.of(job["policies"]), confirm)
        assert result.reason is not None  # nothing is pending where it can be confirmed
        return {"reason": result.reason.value, "detail": result.detail}, True
    except MemoryError:
        return {"reason": Reason.OVER_LIMIT.value, "detail": "out of memory"}, False
    except RecursionError:
        return {"reason": Reason.OVER_LIMIT.value, "detail": "nested too deeply"}, True
    except Exception as error:  # noqa: BLE001 - no text may cost the others their worker
        return {"reason": Reason.OVER_LIMIT.value, "detail": type(error).__name__}, True
    finally:
        set_alarm(0)


def main() -> int:
    """Serves until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner, which then decides
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    set_alarm(START_S + GRACE_S)
    stream = private_output()
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    try:
        from stillroom.traces.answers import symbolic

        symbolic.warm()
    except StillroomError as error:
        write(stream, {"error": str(error)})
        return 1
    set_alarm(0)
    silence(2)  # until here it told the owner why a start failed
    limit_resources(int(sys.argv[1]))
    threading.Thread(target=read_jobs, args=(jobs,), daemon=True).start()
    write(stream, {"ready": True})
    sound = True
    while sound:
        reply, sound = answer(jobs.get())
        write(stream, reply)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
