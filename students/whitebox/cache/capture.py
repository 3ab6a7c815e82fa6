"""Fills a cache with what is missing of a training's rows, block by block.

    found = asyncio.run(capture(store, source, rows, signature, (1.0, 2.0)))
    found.entries[0]                    # of rows[0]
    found.rows, found.tokens            # that the teacher was asked for just now; 0 where all was there

What is in the store is not asked again. A block is on disk before the next is begun, so a kill costs one at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import NamedTuple

from stillroom.errors import TrainingError
from stillroom.students.data.encode import EncodedRow
from stillroom.students.whitebox.cache.blocks import MOST_POSITIONS, MOST_ROWS
from stillroom.students.whitebox.cache.record import Entry, Packed, pack
from stillroom.students.whitebox.cache.rules import Signature, Temperatures
from stillroom.students.whitebox.cache.sources import Source, start_of
from stillroom.students.whitebox.cache.store import Found, Store

WINDOW = MOST_ROWS
"""Rows that a source is given at once: it may sort them, and a block is what comes of them."""


class Captured(NamedTuple):
    """`entries`: of all rows, in their order. `rows`, `tokens`: asked of the teacher just now, prompts included."""

    entries: list[Found]
    rows: int
    tokens: int


class Missing(NamedTuple):
    """What a cache lacks of a training's rows, each once. `tokens`: as the teacher reads them, prompts included."""

    rows: dict[str, EncodedRow]

    @property
    def tokens(self) -> int:
        """Of prompts and answers."""
        return sum(len(row.input_ids) for row in self.rows.values())


def keys_of(rows: Sequence[EncodedRow], signature: Signature) -> list[str]:
    """The key of each row, as the teacher reads it."""
    return [signature.key(row.input_ids, start_of(row)) for row in rows]


async def capture(
    store: Store,
    source: Callable[[], Source],
    rows: Sequence[EncodedRow],
    signature: Signature,
    temperatures: Temperatures,
    on_rows: Callable[[int, int], object] = lambda done, total: None,
) -> Captured:
    """The entries of all rows. `source`: called when something is missing, so that a full cache loads no teacher.
    `on_rows`: hears how many of the missing rows are there. Raises what the source raises; what was written stays."""
    keys = keys_of(rows, signature)
    found = store.find(keys, temperatures)
    missing = Missing({key: row for key, row in zip(keys, rows, strict=True) if key not in found})
    if missing.rows:
        asked = source()
        try:
            await _fill(store, asked, missing.rows, signature, temperatures, found, on_rows)
        finally:
            await asked.close()
    return Captured([found[key] for key in keys], len(missing.rows), missing.tokens)


async def _fill(
    store: Store,
    source: Source,
    missing: Mapping[str, EncodedRow],
    signature: Signature,
    temperatures: Temperatures,
    found: dict[str, Found],
    on_rows: Callable[[int, int], object],
) -> None:
    names, done = list(missing), 0
    for start in range(0, len(names), WINDOW):
        window, block = names[start : start + WINDOW], dict[str, Packed]()
        try:
            # aclosing: a source that is left in the middle stops its requests at once
            async with aclosing(source.score([missing[n] for n in window], signature.rule, temperatures)) as scored:
                async for number, entry in scored:
                    block[window[number]] = _packed(entry, missing[window[number]], signature.bits)
                    if sum(packed.positions for packed in block.values()) >= MOST_POSITIONS:
                        _write(store, block, temperatures, found)
                        block = {}
                    done += 1
                    on_rows(done, len(names))
        finally:  # what was paid for stays, however it ends
            _write(store, block, temperatures, found)


def _packed(entry: Entry, row: EncodedRow, bits: int) -> Packed:
    expected = len(row.input_ids) - start_of(row)
    if len(entry.counts) != expected:
        raise TrainingError(
            f"{row.name}: the teacher told of {len(entry.counts):,} positions, and the answer has {expected:,} tokens"
        )
    return pack(entry, bits)


def _write(store: Store, block: dict[str, Packed], temperatures: Temperatures, found: dict[str, Found]) -> None:
    if block:
        store.add(block, temperatures)
        found |= {key: Found(packed, temperatures) for key, packed in block.items()}
