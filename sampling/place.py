"""Where a judge or scorer works: what a run lends to what it makes from a recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.errors import InputError
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.limits import Meter, Prices
from stillroom.sampling.teachers.base import Teacher


class Place(NamedTuple):
    """`ledger`: keeps the requests that are made; None where nothing is asked. `base`: relative paths start there.
    `seed`: the run's. `meter`, `prices`: limits that are shared with others, and what tokens cost. `asks`: makes what
    asks (a `judges.dialogue.Asks`) in the place of an Asker, from the teacher and the settings of the judge."""

    ledger: Ledger | None
    base: Path
    seed: int = 0
    meter: Meter | None = None
    prices: Prices | None = None
    asks: Callable[[Teacher, Any], Any] | None = None

    @property
    def kept(self) -> Ledger:
        """The ledger. Raises InputError where there is none: what asks a model must not be paid for twice."""
        if self.ledger is None:
            raise InputError("a judge keeps its requests in a ledger, and there is none: give Place(ledger, …) one")
        return self.ledger
