"""Captures of a teacher's distribution, killed at random moments and started again: what is lost or read twice.

    python bench/capture_kills.py [--kills 20] [--seed 3] [--rows 400]

Rows are captured in blocks of 8, so that there are many moments between the blocks, from a source that makes its
distributions up and notes each row that it was asked for. A kill (SIGKILL) comes at a random moment of an unkilled
capture, or just before a block is renamed, before it is indexed, or before the next is begun. After each kill the
capture goes on to its end. Of each: rows that were asked for again (a block at most), and whether the cache is then
that of a capture that nobody killed, bit by bit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[1]))

from stillroom.students.data.encode import IGNORED, EncodedRow
from stillroom.students.whitebox.cache import capture as capturing
from stillroom.students.whitebox.cache.record import Entry
from stillroom.students.whitebox.cache.rules import Rule, Signature
from stillroom.students.whitebox.cache.sources import Scored, start_of
from stillroom.students.whitebox.cache.store import Found, Store

BLOCK = 8
SIGNATURE = Signature("bench", "tokens", "float32", Rule(16, 16, None), 8)
TS = (1.0, 2.0)
LIMIT_S = 300.0
POINTS = ("any", "written", "renamed", "indexed")
"""Where a kill comes: at a random time; or just before a block is renamed, indexed, or the next one begun."""


class Killed(NamedTuple):
    """`rows`: that the teacher had read when the kill came; `again`: of those, read once more afterwards; `same`: the
    cache is that of an unkilled capture."""

    point: str
    rows: int
    again: int
    same: bool


def rows_of(n: int) -> list[EncodedRow]:
    """Rows of random tokens."""
    dice, found = random.Random(1), list[EncodedRow]()
    for i in range(n):
        ids = [dice.randrange(3, 200) for _ in range(dice.randrange(12, 40))]
        found.append(EncodedRow(f"row {i}", ids, [IGNORED] * 6 + ids[6:]))
    return found


class Noting:
    """A source that makes distributions up from the tokens, 10 ms a row, and notes which row it was asked for."""

    def __init__(self, log: Path) -> None:
        self._log = log

    async def score(
        self, rows: Sequence[EncodedRow], rule: Rule, temperatures: tuple[float, ...]
    ) -> AsyncGenerator[Scored]:
        with self._log.open("a", encoding="utf-8") as log:
            for number, row in enumerate(rows):
                await asyncio.sleep(0.01)
                log.write(f"{row.name}\n")
                log.flush()
                yield Scored(number, entry_of(row, rule.most, len(temperatures)))

    async def close(self) -> None: ...


def entry_of(row: EncodedRow, k: int, temperatures: int) -> Entry:
    """A distribution at each of the answer's positions that only its tokens decide."""
    import numpy as np

    positions, dice = len(row.input_ids) - start_of(row), np.random.default_rng(row.input_ids)
    log_p = np.sort(np.log(dice.dirichlet(np.ones(k + 1), positions)))[:, ::-1]
    ids = np.stack([dice.permutation(50_000)[:k] for _ in range(positions)])
    return Entry(np.full(positions, k), ids.ravel(), log_p[:, :k].ravel(), np.repeat(log_p[:, k:], temperatures, 1))


def child(folder: Path, rows: int, point: str, block: int) -> None:
    """Captures; at `point` of the block with this number it kills itself."""
    capturing.WINDOW = BLOCK
    add, replace, index = Store.add, Path.replace, Store._index
    state = {"blocks": 0}

    def die(at: str) -> None:
        if point == at and state["blocks"] == block:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(store: Store, *what: Any) -> None:
        state["blocks"] += 1
        add(store, *what)
        die("indexed")

    def renamed(path: Path, target: Any) -> Any:
        die("written")
        return replace(path, target)

    def indexed(store: Store, *what: Any) -> None:
        die("renamed")
        index(store, *what)

    Store.add, Path.replace, Store._index = counted, renamed, indexed  # type: ignore[assignment,method-assign]
    store = Store.open(folder / "signals")
    asyncio.run(capturing.capture(store, lambda: Noting(folder / "asked"), rows_of(rows), SIGNATURE, TS))


def start(folder: Path, rows: int, point: str = "none", block: int = -1) -> subprocess.Popen[bytes]:
    """A capture in another process."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, __file__, "--child", str(folder), "--rows", str(rows), "--point", point]
    return subprocess.Popen([*command, "--block", str(block)])


def asked(folder: Path) -> Counter[str]:
    """By row, how often the teacher read it."""
    log = folder / "asked"
    return Counter(log.read_text(encoding="utf-8").split("\n")[:-1] if log.is_file() else ())


def held(folder: Path, rows: int) -> dict[str, Found]:
    """All rows in the cache."""
    return Store.read(folder / "signals").find(capturing.keys_of(rows_of(rows), SIGNATURE), TS)


def same(one: dict[str, Found], two: dict[str, Found]) -> bool:
    """Whether both hold the same, bit by bit."""
    import numpy as np

    names = ("counts", "ids", "steps", "tail")
    return one.keys() == two.keys() and all(
        np.array_equal(getattr(one[key].packed, name), getattr(two[key].packed, name))
        for key in one
        for name in names
    )


def kill(folder: Path, rows: int, point: str, dice: random.Random, span_s: float, whole: dict[str, Found]) -> Killed:
    """One kill, and what comes of it."""
    process = start(folder, rows, point, dice.randrange(1, rows // BLOCK))
    if point == "any":
        while not (folder / "asked").is_file() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(dice.uniform(0, span_s))
        process.kill()
    process.wait(LIMIT_S)
    before = asked(folder)
    if start(folder, rows).wait(LIMIT_S):
        raise RuntimeError(f"the capture in {folder} did not end after a kill")
    again = sum(n - 1 for n in asked(folder).values())
    return Killed(point, before.total(), again, same(held(folder, rows), whole))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    for hidden in ("--child", "--point", "--block"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.child:
        child(Path(o.child), o.rows, o.point, int(o.block))
        return
    dice, found = random.Random(o.seed), list[Killed]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = start(folder / "whole", o.rows)
        while not (folder / "whole" / "asked").is_file():
            time.sleep(0.01)
        began = time.monotonic()
        process.wait(LIMIT_S)
        span_s, whole = time.monotonic() - began, held(folder / "whole", o.rows)
        print(f"unkilled: {len(whole)} rows in blocks of {BLOCK}, {span_s:.1f} s", flush=True)
        for number in range(o.kills):
            point = POINTS[number % len(POINTS)]
            found.append(kill(folder / f"run{number}", o.rows, point, dice, span_s, whole))
            print(f"{number:3} {found[-1]}", flush=True)
    print(
        f"{len(found)} kills: {sum(each.again for each in found)} rows read twice, at most "
        f"{max(each.again for each in found)} in a capture (a block is {BLOCK}), "
        f"{sum(not each.same for each in found)} caches differ"
    )
    if o.json:
        o.json.write_text(json.dumps([each._asdict() for each in found], indent=1), encoding="utf-8")
    sys.exit(not all(each.same and each.again <= BLOCK for each in found))


if __name__ == "__main__":
    main()
