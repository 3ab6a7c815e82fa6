"""Every error that Stillroom raises on purpose, and the exit code it ends the command line with.

    StillroomError                          one clear message: what, the value, the fix
    ├── InputError (ValueError)             exit code 2: what the user gave is wrong
    │   ├── RecipeError                     an unknown or ill-typed key, an impossible combination
    │   ├── TaskError                       bad rows in the tasks, found before anything is sampled
    │   ├── MissingFile (FileNotFoundError) a file, folder or model that is not there
    │   ├── MissingExtra (ImportError)      an optional dependency that is not installed
    │   ├── MissingKey                      an API key that is not set or was refused
    │   └── RunFolderError                  the run folder belongs to another recipe, or to a newer version
    ├── PluginError (ImportError)           exit code 2: what another distribution adds cannot be loaded
    └── RunError (RuntimeError)             exit code 1: the run failed; what was paid for is in the ledger
        ├── RequestFailed                   one request failed for good; the run goes on without it
        ├── TeacherDown (ConnectionError)   the teacher answers nobody; the run stops
        ├── LedgerError (OSError)           the ledger cannot be read or written: full disk, damage, a second run
        ├── CheckerError                    the answer checker's workers cannot be started
        ├── GateFailed                      the judge failed its calibration gate: no pairs are built with it
        ├── AuditFailed                     the audit refused the pairs: nothing is trained on them
        ├── NothingLeft                     no trace was accepted, or none passed the filters
        ├── TrainingError                   training failed or produced something unusable
        │   └── NoRoom                      the disk or the GPU's memory is too small for it
        └── Interrupted                     stopped by Ctrl-C; resumable

This module imports nothing of ours, so every room may import it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar


class StillroomError(Exception):
    """Base of all errors raised on purpose. `str(error)` is shown to the user as it is."""

    exit_code = 1
    # Whoever knows what must not be told (keys, values of the environment) puts in here how it is taken out.
    told: ClassVar[Callable[[str], str]] = str

    def __str__(self) -> str:
        return type(self).told(super().__str__())


class InputError(StillroomError, ValueError):
    """What the user gave cannot be used: exit code 2.

    `if_answered`: a server's refusal (of a key, of a model) means this only where it never answered anybody; else it
    is this failure of one request. `sure`: false where it may be the fault of one request even then (a 403).
    """

    exit_code = 2
    if_answered: RequestFailed | None = None
    sure: bool = True


class RecipeError(InputError):
    """A recipe that cannot be run: names the key, the file and the line."""


class TaskError(InputError):
    """Rows that are not tasks: names file, line and reason of each."""


class MissingFile(InputError, FileNotFoundError):
    """A file, folder or model that is not there."""


class MissingExtra(InputError, ImportError):
    """An optional dependency is not installed: names the extra that brings it."""

    def __init__(self, needed_for: str, package: str, extra: str) -> None:
        super().__init__(
            f"{needed_for} needs the package {package!r}, which is not installed: pip install 'stillroom[{extra}]'"
        )
        self.extra = extra


class MissingKey(InputError):
    """An API key that is not set, or that the server refused. Never holds the key."""


class RunFolderError(InputError):
    """The run folder belongs to another recipe, or was written by a newer version."""


class PluginError(StillroomError, ImportError):
    """An entry point of another distribution that cannot be loaded: exit code 2.

    No InputError, since pydantic would take that (a ValueError) for a mistake in the recipe's field that first asked
    which kinds there are.
    """

    exit_code = 2


class RunError(StillroomError, RuntimeError):
    """The run failed for a reason outside the input: exit code 1."""


class RequestFailed(RunError):
    """One request got no answer.

    `retryable`: the same request may succeed later. `retry_after_s`: what the server asked for, or None. `too_many`:
    the server is well and said "not so fast" (429), which costs a request none of its tries.
    """

    def __init__(
        self, message: str, *, retryable: bool, retry_after_s: float | None = None, too_many: bool = False
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.too_many = too_many


class TeacherDown(RunError, ConnectionError):
    """The teacher answers nobody: every request of a long row failed."""


class LedgerError(RunError, OSError):
    """The ledger cannot be read or written."""


class CheckerError(RunError):
    """The answer checker's worker processes cannot be started."""


class GateFailed(RunError):
    """The judge failed the calibration gate, and the recipe requires that it passes."""


class AuditFailed(RunError):
    """The audit found pairs that nothing should be trained on."""


class NothingLeft(RunError):
    """There is nothing to train on: no trace was accepted, or none passed the filters."""


class TrainingError(RunError):
    """Training failed, or what it produced cannot be used."""


class NoRoom(TrainingError):
    """The machine has not the disk or the memory for a training: no fault of what would be trained on."""


class Interrupted(RunError):
    """Stopped by the user. Everything that had been answered is in the ledger."""
