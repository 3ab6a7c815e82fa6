"""Checkpoints of a training on disk: whole or not there, a bounded number, each with what it belongs to.

    kept = Checkpoints(out.with_name(".student.checkpoints"), settings.checkpoints, {"seed": 7, "data": "9f…"}, print)
    with kept.writing(step=40, total=120, state={"losses": [2.1]}) as folder:
        ...                                    # transformers writes its files here
    found = kept.last()                        # .folder, .step, .total, .state; None: begin at the first step

A checkpoint is written under another name and renamed. `checkpoint.json`, written last, names every file with its
hash, so a damaged checkpoint is told and the one before is taken. It also names what the checkpoint belongs to
(settings, rows, seed, versions): where any of that has changed, the training starts again and says what changed.
A full disk stops the training; the checkpoints that are there stay.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from stillroom.common.hashing import digest
from stillroom.common.secrets import named_in
from stillroom.common.settings import Settings
from stillroom.errors import NoRoom, StillroomError
from stillroom.students.methods.ranks import Ranks

MANIFEST = "checkpoint.json"
PREFIX = "checkpoint-"
_PART = ".part"
_SHARE = 20
"""Checkpoints by minutes take at most one part in this many of the time, however slow the disk is."""
_DISK_FAULTS = ("inline_container", "PytorchStreamWriter", "No space left", "Disk quota", "I/O error")
"""What is in the RuntimeErrors and SafetensorErrors that torch and safetensors raise for a disk."""


class CheckpointSettings(Settings):
    """When a training that is not finished is saved, so that the same command goes on with it."""

    steps: int | None = Field(default=None, ge=1)
    """Save after each multiple of this many steps of the optimiser; null: by minutes alone."""
    minutes: float | None = Field(default=5, gt=0)
    """Save at the end of a step once this many minutes have passed; null: by steps alone."""
    keep: int = Field(default=2, ge=1)
    """How many are kept; all are removed when the student is finished."""


class Checkpoint(NamedTuple):
    """`folder`: with the files of transformers; `state`: what our own parts were at that step."""

    folder: Path
    step: int
    total: int
    state: dict[str, Any]


class _Damaged(Exception):
    """The checkpoint is not what was written; says why."""


class Checkpoints:
    """See the module. `settings`: None keeps none. `belongs`: all that decides the training, as JSON. `tell`: hears
    in a line what a user should know. `ranks`: the processes that write one together. `stopping`: set to have the
    next step saved, whatever the settings say. `saved`: the step of the newest checkpoint that is good, None for
    none; `seal`: names its content."""

    def __init__(
        self,
        folder: Path,
        settings: CheckpointSettings | None,
        belongs: Mapping[str, Any],
        tell: Callable[[str], object],
        ranks: Ranks | None = None,
    ) -> None:
        self.folder, self.settings, self.tell, self._ranks = folder, settings, tell, ranks or Ranks()
        self.stopping = False
        self.saved: int | None = None
        self.seal = ""
        self._belongs: dict[str, Any] = json.loads(json.dumps(named_in(dict(belongs))))
        self._saved_at, self._took_s = time.monotonic(), 0.0

    def of(self, phase: str, **belongs: Any) -> Checkpoints:
        """Those of a part of the training. `belongs`: what else decides it."""
        return Checkpoints(self.folder / phase, self.settings, self._belongs | belongs, self.tell, self._ranks)

    def due(self, step: int) -> bool:
        """Whether the step that was just done is to be saved."""
        if self.settings is None or self.stopping:
            return self.stopping
        by_step, minutes = self.settings.steps, self.settings.minutes
        waited = time.monotonic() - self._saved_at
        by_time = minutes is not None and waited >= max(60 * minutes, _SHARE * self._took_s)
        return by_time or (by_step is not None and step % by_step == 0)

    @contextmanager
    def writing(self, step: int, total: int, state: Mapping[str, Any]) -> Iterator[Path]:
        """A folder to write into, which becomes the newest checkpoint when the block ends well. Raises NoRoom where
        the disk is full."""
        part = self.folder / _PART / f"{PREFIX}{step}"
        began = time.monotonic()
        try:
            if self._ranks.main:
                shutil.rmtree(part.parent, ignore_errors=True)
                part.mkdir(parents=True)
            self._ranks.wait()
            yield part
            self._ranks.wait()
            self.seal = self._ranks.share(lambda: self._placed(part, step, total, state))
        except StillroomError:
            raise
        except Exception as error:
            if not isinstance(error, OSError) and not any(fault in str(error) for fault in _DISK_FAULTS):
                raise
            raise self._no_room(step, error) from error
        finally:
            if self._ranks.main:
                shutil.rmtree(part.parent, ignore_errors=True)
        self.saved, self._saved_at = step, time.monotonic()
        self._took_s = self._saved_at - began
        if not self._ranks.main:
            return
        _sync(self.folder)
        for old in self._there()[1 if self.settings is None else self.settings.keep :]:
            _remove(old)

    def _placed(self, part: Path, step: int, total: int, state: Mapping[str, Any]) -> str:
        """Seals what was written and gives it its name; returns the seal."""
        seal = self._sealed(part, {"step": step, "total": total, "belongs": self._belongs, "state": state})
        place = self.folder / part.name
        shutil.rmtree(place, ignore_errors=True)
        part.rename(place)
        return seal

    def last(self) -> Checkpoint | None:
        """The newest whole one of this very training; None: there is none, and what was there is gone."""
        found = self._ranks.share(self._newest)
        if found is None:
            return None
        self.saved, self.seal = found.checkpoint.step, found.seal
        return found.checkpoint

    def _newest(self) -> _Read | None:
        shutil.rmtree(self.folder / _PART, ignore_errors=True)
        if self.settings is None:
            return None
        for folder in self._there():
            try:
                found = _read(folder)
            except _Damaged as error:
                self.tell(f"the checkpoint {folder} is damaged ({error}): the one before it is taken, or none")
                _remove(folder)
                continue
            if changed := _differences(found.belongs, self._belongs):
                self.tell(
                    f"the checkpoint of step {found.checkpoint.step} belongs to another training, so it starts again "
                    f"from step 0: changed {changed}"
                )
                break
            return found
        self.remove()
        return None

    def remove(self) -> None:
        """All of them: the student is finished, or they belong to another."""
        if not self._ranks.main:
            return
        shutil.rmtree(self.folder, ignore_errors=True)

    def _there(self) -> list[Path]:
        """The newest first."""
        found = [path for path in self.folder.glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdecimal()]
        return sorted(found, key=lambda path: int(path.name.removeprefix(PREFIX)), reverse=True)

    def _sealed(self, part: Path, content: dict[str, Any]) -> str:
        """Writes the manifest behind all files, each on the disk itself first; gives its digest."""
        files = sorted(path for path in part.rglob("*") if path.is_file())
        for file in files:
            _sync(file)
        content["files"] = {file.relative_to(part).as_posix(): _hash(file) for file in files}
        seal = digest(content)
        text = json.dumps({"digest": seal, **content}, allow_nan=False)
        (part / MANIFEST).write_text(text, encoding="utf-8")
        for path in (part / MANIFEST, part):
            _sync(path)
        return seal

    def _no_room(self, step: int, error: Exception) -> NoRoom:
        kept = self._there()
        stays = f"that of step {kept[0].name.removeprefix(PREFIX)} is kept" if kept else "there is none yet"
        return NoRoom(
            f"the checkpoint of step {step} cannot be written to {self.folder}: {error}; {stays}. Free some space "
            "and run the same command to go on, or set student.checkpoints: false"
        )


class _Read(NamedTuple):
    checkpoint: Checkpoint
    belongs: dict[str, Any]
    seal: str


def _read(folder: Path) -> _Read:
    """Raises _Damaged for anything that is not as it was written."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        said = content.pop("digest")
        files, step, total = content["files"], content["step"], content["total"]
        found = _Read(Checkpoint(folder, step, total, content["state"]), content["belongs"], said)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _Damaged(f"{MANIFEST} cannot be read: {type(error).__name__}") from error
    if digest(content) != said:
        raise _Damaged(f"{MANIFEST} has changed")
    for name, expected in files.items():
        try:
            whole = _hash(folder / name) == expected
        except OSError as error:
            raise _Damaged(f"{name} cannot be read: {error.strerror}") from error
        if not whole:
            raise _Damaged(f"{name} has changed")
    return found


def _differences(before: Any, now: Any, most: int = 3) -> str:
    """What changed between two JSON values, in words; empty for nothing."""
    found = list(_changed(before, now, ""))
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def _changed(before: Any, now: Any, name: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _changed(before.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif before != now:
        old, new = (value if len(value := json.dumps(each)) <= 40 else f"{value[:37]}…" for each in (before, now))
        yield f"{name} ({old} then, {new} now)"


def _hash(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Brings a file, or the names in a folder, to the disk itself. Not every system can do that for a folder."""
    with contextlib.suppress(PermissionError, NotImplementedError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove(folder: Path) -> None:
    """Under another name first: half a checkpoint is not taken for one."""
    with contextlib.suppress(OSError):
        gone = folder.parent / _PART
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
