"""Results that hold rows, in memory or in a file: as a data set, or as a data frame.

stillroom.run("writing_recorded").to_dataset()          # datasets.Dataset
stillroom.audit("runs/writing_recorded").to_pandas()    # pandas.DataFrame
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.errors import MissingFile

if TYPE_CHECKING:
    from datasets import Dataset
    from pandas import DataFrame


class HasRows:
    """Base of such results."""

    __slots__ = ()

    def _rows(self) -> Path | Sequence[dict[str, Any]]:
        """A file of parquet or JSON Lines, or the rows themselves."""
        raise NotImplementedError

    def to_dataset(self) -> Dataset:
        """The rows, as Hugging Face's libraries read them. Raises MissingFile where there are none yet."""
        from datasets import Dataset

        rows = _there(self._rows())
        if not isinstance(rows, Path):
            return Dataset.from_list(list(rows))
        read = Dataset.from_parquet if rows.suffix == ".parquet" else Dataset.from_json
        return read(str(rows))

    def to_pandas(self) -> DataFrame:
        """The rows as a data frame. Raises MissingFile where there are none yet."""
        import pandas as pd

        rows = _there(self._rows())
        if not isinstance(rows, Path):
            return pd.DataFrame(list(rows))
        return pd.read_parquet(rows) if rows.suffix == ".parquet" else pd.read_json(rows, lines=True, dtype=False)


def _there(rows: Path | Sequence[dict[str, Any]]) -> Path | Sequence[dict[str, Any]]:
    if isinstance(rows, Path) and not rows.is_file():
        raise MissingFile(f"there are no rows in {rows}: run the recipe to its end")
    return rows
