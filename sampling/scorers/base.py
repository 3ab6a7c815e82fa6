"""What looks at an attempt (the answer checker, a judge), which kinds of it there are, and how a recipe names one.

A new kind is a module in one of the packages that `scorers` names, with one registered class: its settings, and how
it is made.

    @scorers.register
    class ShortSettings(ScorerBase):
        kind: Literal["short"]
        most: int = 100

        def identity(self, base: Path) -> str:
            return f"short-1:{self.most}"

        def make(self, place: Place) -> Scorer:
            return ShortScorer(self.most)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol

from stillroom.common.records import Attempt, Task, Verdict
from stillroom.common.registry import Registry
from stillroom.common.settings import Settings
from stillroom.errors import InputError
from stillroom.sampling.again import Again
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.limits import Meter, Prices
from stillroom.sampling.live import as_kind
from stillroom.sampling.teachers.base import Teacher, TeacherBase


class Scorer(Protocol):
    """Decides about an attempt: accepted, rejected or unscored.

    `identity` names all that decides a verdict (kind, version, policy, rubric): verdicts are kept under it and the
    task's reference, so a changed scorer or reference scores again and nothing is scored twice. The identity of a
    scorer that reads a task's metadata ends with `READS_METADATA`, so that edited metadata are noticed, too.
    """

    @property
    def identity(self) -> str:
        """All that decides a verdict, in a line; the same in every process."""

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        """Never raises for what an attempt says: what cannot be scored is `unscored`, with its reason.

        An exception all the same makes the attempt unscored (`over_limit`), and the run goes on; a StillroomError
        (the judge's server is gone, no worker can be started) ends it."""

    async def close(self) -> None:
        """Frees workers and connections. Safe to call twice."""


TRIES = 3
"""How often an attempt is scored, over all calls of a run, while each verdict is an accident."""


def worth_another_try(scorer: Scorer, verdict: Verdict, tries: int) -> bool:
    """Whether an attempt with this verdict, scored `tries` times, is scored again by the next call of the run.

    A scorer may name, in `accidents`, the reasons of verdicts that say what happened to the scorer, not what the
    attempt is worth (it ran out of time, its worker was killed). Such a verdict counts like any other while the run
    lasts, so that the run ends; the next call scores the attempt again, until it was scored `TRIES` times.
    """
    accidents: frozenset[str] = getattr(scorer, "accidents", frozenset())
    return verdict.reason in accidents and tries < TRIES


def has_failed(scorer: Scorer, verdict: Verdict) -> bool:
    """Whether a verdict says that the scorer failed: what `--retry failures` has scored again.

    A scorer may name such reasons in `failures`; without that its accidents are. One that hands its attempts on to
    another scorer, whose reason is not the verdict's, says so in a method `has_failed`.
    """
    own = getattr(scorer, "has_failed", None)
    if own is not None:
        return bool(own(verdict))
    failures: frozenset[str] = getattr(scorer, "failures", getattr(scorer, "accidents", frozenset()))
    return verdict.reason in failures


class Place(NamedTuple):
    """Where a judge or scorer works: what a run lends to what it makes from a recipe.

    `ledger`: keeps the requests that are made; None where nothing is asked. `base`: relative paths start there;
    `seed`: the run's. `meter`, `prices`: limits that are shared with others, and what tokens cost. `asks`: makes what
    asks (a `judges.dialogue.Asks`) in the place of an Asker, from the teacher and the settings of the judge.
    `again`: failures on record are asked again; None: they stay."""

    ledger: Ledger | None
    base: Path
    seed: int = 0
    meter: Meter | None = None
    prices: Prices | None = None
    asks: Callable[[Teacher, Any], Any] | None = None
    again: Again | None = None

    @property
    def kept(self) -> Ledger:
        """The ledger. Raises InputError where there is none: what asks a model must not be paid for twice."""
        if self.ledger is None:
            raise InputError("a judge keeps its requests in a ledger, and there is none: give Place(ledger, …) one")
        return self.ledger


class ScorerBase(Settings):
    """Settings that every kind of scorer has. `needs_reference`: it reads the gold answers of the tasks."""

    needs_reference: ClassVar[bool] = False

    kind: str

    @property
    def reads_reference(self) -> bool:
        """Whether it reads gold answers with these settings."""
        return self.needs_reference

    def with_teacher(self, teacher: TeacherBase) -> ScorerBase:
        """The scorer in a recipe with this teacher. Raises ValueError where it cannot work with it."""
        return self

    def measuring(self) -> ScorerBase:
        """The scorer of held-out answers, where it differs from the one that chooses what to learn from."""
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """The files that decide its verdicts, as the recipe names them; their hashes go on record."""
        return ()

    def identity(self, base: Path) -> str:
        """The identity that the scorer will have (see `Scorer`), without making it. Relative paths start at `base`.

        Raises MissingFile.
        """
        raise NotImplementedError

    def make(self, place: Place) -> Scorer:
        """The scorer; relative paths start at the place's base. Starts no worker before the first attempt.

        Raises InputError for what cannot be used.
        """
        raise NotImplementedError


scorers: Registry[ScorerBase] = Registry(
    "scorer",
    tag="kind",
    default="answer",
    bare=as_kind("kind"),
    where=(
        "stillroom.sampling.scorers",
        "stillroom.traces.scorers",
        "stillroom.judges.scorer",
        "stillroom.judges.verifier",
    ),
)
"""Every kind of scorer by its name in a recipe. Packages of rooms above are named, not imported, here."""

ScorerSettings = Annotated[ScorerBase, scorers.field()]
"""The settings of any kind, as the type of a recipe's field."""
