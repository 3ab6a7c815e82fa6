"""From a recipe's settings to the signal of its training: captures what is missing, and tells what was lost by it.

    kept = prepared_signal(Wanted(...), student=LocalSource(…), local=lambda: LocalSource(…), other=None)
    kept.signal                       # stands for the teacher
    kept.record                       # for training.json

A full cache loads no teacher and asks nobody.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.common.files import replaced
from stillroom.common.hashing import digest
from stillroom.common.outside import NotJson, read_json
from stillroom.common.run_async import off_the_loop
from stillroom.students.data.encode import EncodedRow
from stillroom.students.whitebox.cache.capture import Captured, capture
from stillroom.students.whitebox.cache.fidelity import Fidelity, chosen, measure
from stillroom.students.whitebox.cache.local import LocalSource
from stillroom.students.whitebox.cache.rules import Signature, Temperatures
from stillroom.students.whitebox.cache.signal import CachedSignal
from stillroom.students.whitebox.cache.sources import Source
from stillroom.students.whitebox.cache.store import Size, Store


class Wanted(NamedTuple):
    """What a training needs of its teacher. `read`, `own`: its rows as teacher and student read them; `vocabulary`:
    the tokenizer's size; `folder`: of the cache; `student`: the fingerprint of the student's base."""

    read: Sequence[EncodedRow]
    own: Sequence[EncodedRow]
    signature: Signature
    temperatures: Temperatures
    vocabulary: int
    folder: Path
    student: str
    tell: Callable[[str], object]


class PreparedSignal(NamedTuple):
    """`signal`: what the loss reads; `record`: what was kept, asked and lost."""

    signal: CachedSignal
    record: dict[str, Any]


@off_the_loop
def prepared_signal(
    wanted: Wanted,
    student: LocalSource,
    *,
    local: Callable[[], LocalSource] | None,
    other: Callable[[], Source] | None,
) -> PreparedSignal:
    """`local`: loads the teacher's weights, where it is they that are asked; else `other` is. Each is called at most
    once, and only if it is needed."""
    loaded: list[LocalSource] = []

    def weights() -> LocalSource:
        if not loaded and local is not None:
            loaded.append(local())
        return loaded[0]

    store = Store.open(wanted.folder, wanted.tell)
    source: Callable[[], Source] = other if other is not None else weights
    found = asyncio.run(
        capture(store, source, wanted.read, wanted.signature, wanted.temperatures, progress(wanted.tell))
    )
    fidelity = None
    if local is not None:
        fidelity = _known(wanted)
        if fidelity is None or found.rows:
            fidelity = _measured(wanted, weights(), student, found)
    signal = CachedSignal(found.entries, wanted.temperatures, wanted.vocabulary)
    wanted.tell(summary(found, store.size(), wanted))
    for line in fidelity or ():
        wanted.tell(f"cache against the whole distribution, {line['told']}")
    if local is None:
        wanted.tell("how near the cache is to the whole distribution is unknown: only the teacher's weights can tell")
    return PreparedSignal(signal, _record(found, wanted, fidelity))


def summary(found: Captured, size: Size, wanted: Wanted) -> str:
    """What was asked and what is there, in a line."""
    asked = f"{found.tokens:,} tokens asked of the teacher now" if found.rows else "nothing asked of the teacher"
    each = size.bytes / size.positions if size.positions else 0.0
    return (
        f"cache: {len(wanted.read):,} rows, {asked}; {size.positions:,} positions on disk, "
        f"{size.bytes / 1e6:,.2f} MB, {each:.1f} bytes each"
    )


def progress(tell: Callable[[str], object]) -> Callable[[int, int], None]:
    """Tells of a long capture at each tenth."""

    def on_rows(done: int, total: int) -> None:
        if total >= 640 and done * 10 // total > (done - 1) * 10 // total:
            tell(f"cache: {done:,} of {total:,} rows captured")

    return on_rows


def _measured(wanted: Wanted, teacher: LocalSource, student: LocalSource, found: Captured) -> list[dict[str, Any]]:
    at = chosen(wanted.read)
    results: list[Fidelity] = measure(
        teacher,
        student,
        [wanted.read[i] for i in at],
        [wanted.own[i] for i in at],
        [found.entries[i] for i in at],
        wanted.temperatures,
    )
    fidelity = [{**each.as_dict(), "told": str(each)} for each in results]
    with replaced(_file(wanted)) as file:
        file.write(json.dumps({"student": wanted.student, "fidelity": fidelity}, indent=1).encode())
    return fidelity


def _known(wanted: Wanted) -> list[dict[str, Any]] | None:
    """What was measured when these rows' kind was captured; None where nothing was, or at other temperatures."""
    try:
        held = read_json(_file(wanted).read_bytes())["fidelity"]
        found = [dict(each) for each in held if {"temperature", "told"} <= set(each)]
    except (OSError, NotJson, TypeError, KeyError, ValueError):
        return None
    return found if {each["temperature"] for each in found} >= set(wanted.temperatures) else None


def _file(wanted: Wanted) -> Path:
    return wanted.folder / f"fidelity-{digest(list(map(str, wanted.signature)), 16)}.json"


def _record(found: Captured, wanted: Wanted, fidelity: list[dict[str, Any]] | None) -> dict[str, Any]:
    positions = sum(entry.packed.positions for entry in found.entries)
    kept = sum(len(entry.packed.ids) for entry in found.entries)
    return {
        "rule": wanted.signature.rule._asdict(),
        "bits": wanted.signature.bits,
        "temperatures": list(wanted.temperatures),
        "positions": positions,
        "tokens_kept": round(kept / positions, 2),
        "fidelity": None if fidelity is None else [{k: v for k, v in f.items() if k != "told"} for f in fidelity],
    }
