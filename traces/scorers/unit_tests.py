"""`kind: unit_tests`: the code of an answer has to pass the tests of its task.

    tasks:  {source: jsonl, path: problems.jsonl, prompt: question, reference: test_code}
    scorer: {kind: unit_tests, tests: reference, timeout_s: 10, memory_mb: 1024, processes: 16, sandbox: namespaces}

The code runs without a network, in Linux namespaces. Where the system does not allow them, the recipe is refused
before anything is paid for, unless it names `sandbox: none`. How code and tests are run: see `traces/unit_tests.py`.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from pydantic import Field

from stillroom.common.hashing import digest
from stillroom.errors import InputError
from stillroom.sampling.scorers.base import Place, ScorerBase, scorers
from stillroom.sampling.workers.pool import WorkerPool
from stillroom.sampling.workers.process import Program
from stillroom.traces.sandbox.running import Limits, remove
from stillroom.traces.unit_tests import REFERENCE, VERSION, UnitTestsScorer

_WORKER_MB = 512  # what the worker itself needs beyond the memory of the code


@scorers.register
class UnitTestsScorerSettings(ScorerBase):
    """Runs tests that a task carries, in a sandbox."""

    kind: Literal["unit_tests"]
    tests: str = Field(min_length=1)
    """Field of the task's metadata that holds the tests, or `reference`, where edited tests score again."""
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
        """As `ScorerBase.identity`."""
        settings = self.model_dump(mode="json", exclude={"kind", "workers"})
        return f"unit_tests-{VERSION}:{digest(settings, 12)}:python-{platform.python_version()}"

    def make(self, place: Place) -> UnitTestsScorer:
        """As `ScorerBase.make`, but a worker is started and tries the sandbox at once."""
        self._check_system()
        limits = asdict(self._limits())
        folder = Path(tempfile.mkdtemp(prefix="stillroom-tests-"))
        program = Program(
            "stillroom.traces.sandbox.worker",
            self.memory_mb + _WORKER_MB,
            "scorer.kind unit_tests",
            (json.dumps(limits), str(folder)),
            refused=InputError,
        )
        pool = WorkerPool(program, self.workers or min(4, os.cpu_count() or 1))
        try:
            pool.hello()
        except BaseException:
            pool.close()
            remove(folder)
            raise
        identity = self.identity(place.base)
        return UnitTestsScorer(pool, folder, tests=self.tests, timeout_s=self.timeout_s, identity=identity)

    def _limits(self) -> Limits:
        isolated = self.sandbox == "namespaces"
        return Limits(self.timeout_s, self.memory_mb, self.processes, self.files_mb, isolated)

    def _check_system(self) -> None:
        """Raises InputError for a system that has not what the sandbox is made of."""
        if not hasattr(os, "fork"):
            raise InputError(f"scorer.kind unit_tests does not run on {platform.system()}: use Linux, or WSL")
        if self.sandbox == "namespaces" and sys.platform != "linux":
            raise InputError(
                f"scorer.sandbox is namespaces, which {platform.system()} does not have: use Linux, or set "
                "scorer.sandbox to none, which runs what the teacher wrote with your own rights and an open network"
            )
