"""Whether a key is refused: some gateways ask for one at their list of models and nowhere else.

A list of models that refuses the key is a doubt and no more. As long as it lasts, requests go out one at a time: a
wrong key is tried twice, not by all slots at once. An answer ends the doubt; the second refusal settles it, and those
that wait are told without asking.

    doubt.arises()                 # 401 on /models
    if doubt.holds:
        async with doubt.one_at_a_time:
            doubt.check()          # raises what settled it meanwhile
            …                      # ask; then doubt.ends(), or raise doubt.refused(error)
"""

from __future__ import annotations

import asyncio

from stillroom.errors import MissingKey

# Requests that are refused as the list of models was, before the key is.
REFUSED_TO_BELIEVE = 2


class Doubt:
    """The doubt about one key. `holds`: nobody was answered since it arose."""

    def __init__(self) -> None:
        self.holds = False
        self.one_at_a_time = asyncio.Lock()
        self._refusals = 0
        self._settled: MissingKey | None = None

    def arises(self) -> None:
        """The list of models refused the key."""
        self.holds = True

    def ends(self) -> None:
        """Somebody was answered."""
        self.holds = False

    def check(self) -> None:
        """Raises what says that the key is refused, once it is settled."""
        if self._settled is not None:
            raise self._settled

    def refused(self, error: MissingKey) -> MissingKey:
        """The error for a request whose key was refused: from the second on it is about all of them."""
        self._refusals += 1
        if self.holds and self._refusals >= REFUSED_TO_BELIEVE:
            error.if_answered = None
            self._settled = error
        return error
