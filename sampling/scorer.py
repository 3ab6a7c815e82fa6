"""The protocol of what looks at an attempt: the answer checker, or a judge."""

from __future__ import annotations

from typing import Protocol

from stillroom.sampling.records import Attempt, Task, Verdict


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
