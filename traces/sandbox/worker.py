"""The worker that runs answers with their tests: `python -m stillroom.traces.sandbox.worker MEMORY_MB LIMITS FOLDER`.

LIMITS is the JSON of `running.Limits`; FOLDER is for what the code writes, and is removed when the owner is gone. A
job holds `code`, `fenced` and `tests`; a reply holds `reason`, one of `passed`, `tests_failed`, `no_code`,
`bad_tests`, `timeout`, `over_limit` and `sandbox_error`, and `detail`. Before it takes jobs it runs one itself: a
system that forbids the sandbox is found before anything is paid for.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from stillroom.sampling.workers.child import CannotStart, Reply, serve
from stillroom.traces.sandbox.running import Ended, Job, Limits, adopt_orphans, kill_all, remove, run

_REPORT = 1000  # bytes of a report that are read; a true one is far shorter


class Runner:
    """Runs jobs, one at a time."""

    def __init__(self, limits: Limits, folder: Path) -> None:
        self._limits, self._folder = limits, folder
        self._harness = files("stillroom.traces").joinpath("sandbox/harness.py").read_text(encoding="utf-8")

    def warm(self) -> None:
        """Tries the sandbox. Raises CannotStart."""
        adopt_orphans()
        tried = self.answer({"code": "x = 1", "fenced": True, "tests": "assert x == 1"}).values
        if tried["reason"] == "passed":
            return
        why = tried["detail"] or tried["reason"]
        if not self._limits.namespaces:
            raise CannotStart(f"code cannot be run here ({why}): raise scorer.memory_mb or scorer.timeout_s")
        raise CannotStart(
            f"this system does not allow code to be run without a network ({why}): use Linux 5.12 or newer with "
            "user namespaces allowed, or set scorer.sandbox to none, which runs what the teacher wrote with your own "
            "rights and an open network"
        )

    def answer(self, job: dict[str, Any]) -> Reply:
        """Runs one answer with its tests."""
        nonce = secrets.token_hex(16).encode()
        nonce_out, nonce_in = os.pipe()
        report_out, report_in = os.pipe()
        os.set_blocking(report_out, False)
        try:
            os.write(nonce_in, nonce)
            spec = {**job, "nonce": nonce_out, "report": report_in}
            command = [sys.executable, "-P", "-s", "-B", "-c", self._harness]
            ended = run(Job(command, json.dumps(spec).encode(), (nonce_out, report_in)), self._limits, self._folder)
            report = b""
            with contextlib.suppress(BlockingIOError):
                report = os.read(report_out, _REPORT)
            return Reply(self._read(ended, report, nonce))
        except OSError as error:
            return Reply({"reason": "sandbox_error", "detail": str(error)})
        finally:
            for end in (nonce_out, nonce_in, report_out, report_in):
                os.close(end)

    def _read(self, ended: Ended, report: bytes, nonce: bytes) -> dict[str, Any]:
        limits, word = self._limits, report.split(b" ")[0]
        reason, detail = "tests_failed", ended.output
        if ended.error:
            reason, detail = "sandbox_error", ended.error
        elif ended.cut == "timeout":
            reason, detail = "timeout", f"still running after {limits.timeout_s:g} s"
        elif ended.cut == "memory":
            reason, detail = "over_limit", f"its processes used more than {limits.memory_mb:,} MB together"
        elif ended.cut == "processes":
            reason, detail = "over_limit", f"it had more than {limits.processes} processes at once"
        elif report == nonce and ended.status == 0:
            reason, detail = "passed", ""
        elif word == b"bad_tests":
            reason, detail = "bad_tests", report[len(word) + 1 :].decode("utf-8", "replace")
        elif word == b"no_code":
            reason, detail = "no_code", ""
        elif word in (b"memory", b"files"):
            most = limits.memory_mb if word == b"memory" else limits.files_mb
            reason, detail = "over_limit", f"{word.decode()}: more than {most:,} MB were asked for"
        elif ended.status is not None and os.WIFSIGNALED(ended.status):
            number = os.WTERMSIG(ended.status)
            if number == signal.SIGXCPU:
                reason, detail = "timeout", "it used up its time on the processor"
            elif number == signal.SIGKILL:  # not its own doing unless it meant to: no evidence
                reason, detail = "over_limit", "it was killed (signal 9): the system may have run out of memory"
            else:
                detail = f"it ended with signal {number}\n{ended.output}"
        elif not detail.strip():
            detail = "it ended before its tests did"
        return {"reason": reason, "detail": detail}


def main() -> int:
    """Serves until the input ends."""
    folder = Path(sys.argv[3])
    runner = Runner(Limits(**json.loads(sys.argv[2])), folder)

    def ended() -> None:
        kill_all()
        remove(folder)

    return serve(runner.warm, runner.answer, memory_mb=int(sys.argv[1]), may_write=True, ended=ended)


if __name__ == "__main__":
    sys.exit(main())
