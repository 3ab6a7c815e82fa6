"""`kind: unit_tests`: the code of an answer has to pass the tests of its task.

    tasks:  {source: jsonl, path: problems.jsonl, prompt: question, reference: test_code}
    scorer: {kind: unit_tests, tests: reference, timeout_s: 10, memory_mb: 1024, processes: 16, sandbox: namespaces}

The code is the last block fenced as Python (` ```python `), else the last fenced block without a language, else the
whole text if it is a program. The tests are a script that sees the code's names; it passes when it comes to its end
and every `test_…` function and `unittest.TestCase` that it defines passes. A test that fails is a rejection. Time,
memory, a sandbox that cannot be used or tests that cannot be read say nothing about the code: unscored.

The code runs without a network, in Linux namespaces (see `traces/sandbox`). Where the system does not allow them, the
recipe is refused before anything is paid for, unless it names `sandbox: none`.

>>> find_code("So:\\n```python\\nx = 1\\n```\\nDone.")
Code(text='x = 1\\n', fenced=True)
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import sys
import tempfile
import textwrap
import weakref
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from stillroom.common.hashing import digest
from stillroom.common.records import Attempt, State, Task, Verdict
from stillroom.errors import InputError
from stillroom.sampling.ledger import READS_METADATA
from stillroom.sampling.scorers.base import Place, ScorerBase, scorers
from stillroom.sampling.workers.pool import Program, Threads, WorkerPool
from stillroom.traces.answers.extract import spoken
from stillroom.traces.sandbox.running import Limits, remove

_WORKER_MB = 512  # what the worker itself needs beyond the memory of the code
VERSION = 1
"""Part of the identity: raise it when the same answer is run differently."""

REFERENCE = "reference"
"""Names the task's reference as the place of its tests."""

MAX_CODE = 100_000
"""Characters of code that are run at most."""

SETUP_S = 30.0
"""Seconds for making the sandbox and ending all in it, besides the time limit of the code."""

DETAIL = 2000
"""Characters of what was printed last that are kept with a verdict."""

_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*([^\s`]*)[^`]*")
_PYTHON = frozenset({"python", "python3", "py", "py3"})


class Reason(StrEnum):
    """Why a verdict on code is what it is. Only `tests_failed` is a rejection."""

    PASSED = "passed"
    TESTS_FAILED = "tests_failed"
    """A test failed, or the code could not be run or ended the process before its tests were through."""
    NO_ANSWER = "no_answer"
    """The text is empty, or was withheld."""
    NO_CODE = "no_code"
    """The text holds no Python."""
    NO_TESTS = "no_tests"
    """The task has no tests where they should be."""
    BAD_TESTS = "bad_tests"
    """The tests are not Python: nothing is ever accepted by them."""
    TIMEOUT = "timeout"
    OVER_LIMIT = "over_limit"
    """Too much code, memory, files or processes."""
    SANDBOX_ERROR = "sandbox_error"
    """The code could not be run, or what watched over it was killed."""
    TRUNCATED = "truncated"
    """The attempt was cut off by its length limit."""


class Code(NamedTuple):
    """The code of an answer. `fenced`: it was marked as code; else it may be prose."""

    text: str
    fenced: bool


def find_code(text: str) -> Code | None:
    """The code of an answer, the thinking part left out; None where only other languages are fenced, or nothing is
    there. A last block that is never closed goes to the end of the text."""
    text = spoken(text)
    blocks: list[tuple[str, str]] = []  # language and text
    fence, language, lines = "", "", list[str]()
    for line in text.splitlines(keepends=True):
        match = _FENCE.fullmatch(line.rstrip())
        if not fence and match:
            fence, language, lines = match.group(1), match.group(2).lower().strip("{}."), []
        elif fence and match and match.group(1).startswith(fence) and line.strip() == match.group(1):
            blocks.append((language, "".join(lines)))
            fence = ""
        elif fence:
            lines.append(line)
    if fence:
        blocks.append((language, "".join(lines)))
    for languages in (_PYTHON, frozenset({""})):
        found = [code for language, code in blocks if language in languages]
        if found:
            return Code(textwrap.dedent(found[-1]), True)
    return Code(text, False) if not blocks and text.strip() else None


class UnitTestsScorer:
    """Scores attempts by the tests of their task. `pool`: workers of `stillroom.traces.sandbox.worker`, which are
    ended with the scorer. `folder`: theirs, which is removed with it. `tests`: the field of the task's metadata that
    holds them, or `reference`."""

    # A busy machine, or a worker that was killed: another try may end well.
    accidents: frozenset[str] = frozenset({Reason.TIMEOUT, Reason.SANDBOX_ERROR})

    def __init__(self, pool: WorkerPool, folder: Path, *, tests: str, timeout_s: float, identity: str) -> None:
        self._pool, self._threads = pool, Threads(pool.workers)
        # Also when nobody closes it: at the end of the process at the latest.
        self._cleaning = weakref.finalize(self, _clean, pool, folder)
        self._tests, self._timeout_s, self.identity = tests, timeout_s, identity

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        """The verdict of the tests. Raises CheckerError only, when no worker can be started."""
        tests = task.reference if self._tests == REFERENCE else task.metadata.get(self._tests)
        if not isinstance(tests, str) or not tests.strip():
            where = (
                f"the task has no text {self._tests!r}; where tasks.reference names it, set scorer.tests to reference"
            )
            if self._tests == REFERENCE:
                where = "the task has no reference: name the field of its tests in tasks.reference"
            return _unscored(Reason.NO_TESTS, where)
        if attempt.finish_reason == "length":
            return _unscored(Reason.TRUNCATED, "cut off by its length limit")
        if attempt.finish_reason == "content_filter":
            return _unscored(Reason.NO_ANSWER, "withheld by the server's content filter")
        if not attempt.text.strip():
            return _unscored(Reason.NO_ANSWER, "the text is empty")
        code = find_code(attempt.text)
        if code is None:
            return _unscored(Reason.NO_CODE, "no Python among its fenced blocks")
        if len(code.text) > MAX_CODE:
            return _unscored(Reason.OVER_LIMIT, f"{len(code.text):,} characters of code, the limit is {MAX_CODE:,}")
        job = {"code": code.text, "fenced": code.fenced, "tests": tests}
        return await asyncio.wrap_future(self._threads.get().submit(self._run, job))

    async def close(self) -> None:
        """Ends the workers, and whatever they run. Safe to call twice."""
        self._cleaning()
        self._threads.close()

    def _run(self, job: dict[str, object]) -> Verdict:
        asked = self._pool.ask(job, self._timeout_s + SETUP_S)
        if asked.reason:
            return Verdict(State.UNSCORED, Reason.SANDBOX_ERROR, detail=asked.detail, seconds=asked.seconds)
        reason = Reason(asked.reply["reason"])
        states = {Reason.PASSED: State.ACCEPTED, Reason.TESTS_FAILED: State.REJECTED}
        detail = asked.reply["detail"][-DETAIL:]
        return Verdict(states.get(reason, State.UNSCORED), reason, detail=detail, seconds=asked.seconds)


def _clean(pool: WorkerPool, folder: Path) -> None:
    pool.close()
    remove(folder)


def _unscored(reason: Reason, detail: str) -> Verdict:
    return Verdict(State.UNSCORED, reason, detail=detail)


@scorers.register
class UnitTestsScorerSettings(ScorerBase):
    """Runs tests that a task carries, in a sandbox."""

    kind: Literal["unit_tests"]
    tests: str = Field(min_length=1)
    """Field of the task's row that holds the tests, or `reference`."""
    timeout_s: float = Field(default=10.0, gt=0)
    """Time limit for code and tests together, in seconds."""
    memory_mb: int = Field(default=1024, ge=128)
    """Memory of each process, and of all together, in MB."""
    processes: int = Field(default=16, ge=1)
    """Processes at once, threads included."""
    files_mb: int = Field(default=64, ge=1)
    """Data that may be written, in MB."""
    sandbox: Literal["namespaces", "none"] = "namespaces"
    """`none` runs the code with your own rights and network."""
    workers: int | None = Field(default=None, ge=1)
    """Checks at once; null: one per core, at most four."""

    @property
    def reads_reference(self) -> bool:
        """Where its tests are there."""
        return self.tests == REFERENCE

    def identity(self, base: Path) -> str:
        settings = self.model_dump(mode="json", exclude={"kind", "workers"})
        read = "" if self.tests == REFERENCE else READS_METADATA
        return f"unit_tests-{VERSION}:{digest(settings, 12)}:python-{platform.python_version()}{read}"

    def make(self, place: Place) -> UnitTestsScorer:
        """As `ScorerBase.make`, but a worker is started and tries the sandbox at once. Raises InputError for a system
        that has not what the sandbox is made of."""
        isolated = self.sandbox == "namespaces"
        if not hasattr(os, "fork"):
            raise InputError(f"scorer.kind unit_tests does not run on {platform.system()}: use Linux, or WSL")
        if isolated and sys.platform != "linux":
            raise InputError(
                f"scorer.sandbox is namespaces, which {platform.system()} does not have: use Linux, or set "
                "scorer.sandbox to none, which runs what the teacher wrote with your own rights and an open network"
            )
        limits = Limits(self.timeout_s, self.memory_mb, self.processes, self.files_mb, isolated)
        folder = Path(tempfile.mkdtemp(prefix="stillroom-tests-"))
        program = Program(
            "stillroom.traces.sandbox.worker",
            self.memory_mb + _WORKER_MB,
            "scorer.kind unit_tests",
            (json.dumps(asdict(limits)), str(folder)),
            refused=InputError,
        )
        pool = WorkerPool(program, self.workers or min(4, os.cpu_count() or 1))
        try:
            pool.hello()
        except BaseException:
            _clean(pool, folder)
            raise
        identity = self.identity(place.base)
        return UnitTestsScorer(pool, folder, tests=self.tests, timeout_s=self.timeout_s, identity=identity)
