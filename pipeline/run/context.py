"""What every stage of a run gets in addition to its own settings and inputs: the folder, the ledger, the display,
the limits.

A stage never reads what another one found from here: it gets that as an argument, and returns what it found itself.

    with opened(folder, loaded, display) as context:
        outcomes = sample_traces(context, loaded.recipe, tasks)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.preferences import PreferenceRecipe
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.run.folder import RunFolder
from stillroom.pipeline.run.progress import Display
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.limits import Meter, Prices
from stillroom.sampling.scorers.base import Place


@dataclass(frozen=True, slots=True)
class RunContext:
    """`base`: where the recipe's relative paths start. `meter`: what has been spent, against the recipe's limits;
    runs of a chain share one. `prices`: of the teacher's tokens, None where the recipe gives none."""

    folder: RunFolder
    ledger: Ledger
    display: Display
    base: Path
    seed: int
    meter: Meter = field(default_factory=Meter)
    prices: Prices | None = None

    def place(self, prices: Prices | None = None) -> Place:
        """Where a scorer or a judge of this run works. `prices`: of what it asks."""
        return Place(self.ledger, self.base, self.seed, self.meter, prices)


@contextmanager
def opened(
    folder: RunFolder,
    loaded: Loaded[Recipe] | Loaded[PreferenceRecipe],
    display: Display,
    meter: Meter | None = None,
) -> Iterator[RunContext]:
    """The context of a run, its ledger open. `meter`: None for a new one under the recipe's limits.

    Raises RunFolderError or LedgerError where the folder belongs to another recipe or is in use.
    """
    recipe = loaded.recipe
    with folder.opened(display) as ledger:
        yield RunContext(
            folder=folder,
            ledger=ledger,
            display=display,
            base=loaded.base,
            seed=recipe.seed,
            meter=meter or Meter(recipe.limits),
            prices=recipe.prices,
        )
