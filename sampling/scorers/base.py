"""The protocol of what looks at an attempt: the answer checker, or a judge."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from stillroom.common.records import Attempt, Task, Verdict


class Scorer(Protocol):
    """Says of an attempt: accepted, rejected or unscored.

    `identity` names all that decides a verdict (kind, version, policy, rubric): verdicts are kept under it, so a
    changed scorer scores anew and an unchanged one is not asked again.
    """

    @property
    def identity(self) -> str:
        """All that decides a verdict, in a line; the same in every process."""
        ...

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        """Never raises for what an attempt says: what cannot be scored is `unscored`, with its reason.

        An exception all the same makes the attempt unscored (`over_limit`), and the run goes on; a StillroomError
        (the judge's server is gone, no worker can be started) ends it."""
        ...

    async def close(self) -> None:
        """Frees workers and connections. Safe to call twice."""
        ...


TRIES = 3
"""How often an attempt is scored, over all calls of a run, while each verdict is an accident."""


@runtime_checkable
class KnowsAccidents(Protocol):
    """A scorer some of whose verdicts say what happened to the scorer, not what the attempt is worth.

    Such a verdict (it ran out of time, its worker was killed) counts like any other while the run lasts, so that the
    run ends; the next call of the run scores the attempt again, until it was scored `TRIES` times.
    """

    @property
    def accidents(self) -> frozenset[str]:
        """The reasons of such verdicts."""
        ...


def worth_another_try(scorer: Scorer, verdict: Verdict, tries: int) -> bool:
    """Whether an attempt with this verdict, after so many tries, is to be scored again by a new call of the run."""
    return isinstance(scorer, KnowsAccidents) and verdict.reason in scorer.accidents and tries < TRIES
