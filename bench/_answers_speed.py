"""Speed: pairs per CPU second of both sides, in turn, each turn in a process that has done nothing else.

CPU seconds count the children too; getting ready (imports, workers, three first pairs) is left out on both sides.
Ours is measured warm (as it comes: it remembers verdicts and what it has read) and cold (nothing is remembered from
pair to pair). Nothing is tuned here, and errors are counted in the same pairs.

    measure_speed(Path("../shared/data"), report, quick=True, long_golds=False, rival=True)
"""

from __future__ import annotations

import inspect
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from bench._answers_pairs import Row, speed_rows
from bench._answers_report import NONE, Report, errors, progress
from bench._answers_sides import OURS, THEIRS, WARM_UP, as_verdict, warmed_math_verify, wrapped
from stillroom.common.records import Verdict
from stillroom.traces.answers import AnswerChecker

COLD = "ours, cold"
TURNS = 3
QUICK_PAIRS = 500
"""Of each label half."""


class Timing(NamedTuple):
    """One turn. `warm_s`, `cpu_s`: CPU seconds of the process and its children, to get ready and for all pairs.
    `verdicts`: one for each pair. `caches`: names of the functions whose caches were cleared before every pair."""

    warm_s: float
    cpu_s: float
    verdicts: list[Verdict]
    caches: list[str]


Timed = Callable[[list[Row]], Timing]


def time_ours(rows: list[Row]) -> Timing:
    """Times ours as it comes; to be called in a fresh process."""
    return _time_ours(rows, AnswerChecker(), cold=False)


def time_ours_cold(rows: list[Row]) -> Timing:
    """Times ours with no memo and all caches cleared before every pair; to be called in a fresh process.

    The clearing counts as ours. Worker processes, which few pairs need, keep their caches.
    """
    return _time_ours(rows, AnswerChecker(memo=0), cold=True)


def _time_ours(rows: list[Row], checker: AnswerChecker, *, cold: bool) -> Timing:
    begin = cpu_seconds()
    checker.warm()
    checker.check_many(WARM_UP)
    ready = cpu_seconds(checker.pids())
    cleared = caches() if cold else []  # now that all is loaded
    verdicts = checker.check_many(forgetting(rows, cleared))
    checker.close()
    return Timing(ready - begin, cpu_seconds() - ready, verdicts, [cache.__name__ for cache in cleared])


def time_math_verify(rows: list[Row]) -> Timing:
    """Times Math-Verify; to be called in a fresh process."""
    begin = cpu_seconds()
    accepts = warmed_math_verify()
    ready = cpu_seconds()
    accepted = [accepts(row._replace(gold=wrapped(row.gold))) for row in rows]
    return Timing(ready - begin, cpu_seconds() - ready, [as_verdict(each) for each in accepted], [])


@runtime_checkable
class Cache(Protocol):
    """A function that remembers, as functools makes it."""

    __name__: str

    def cache_clear(self) -> None:
        """Forgets everything."""
        ...


def caches() -> list[Cache]:
    """The functions of the answer modules that remember what they were given.

    One without parameters holds a constant (a loaded module, a table), and is left alone.
    """
    modules = [module for name, module in sys.modules.items() if name.startswith("stillroom.traces.answers.")]
    found = {id(each): each for module in modules for each in vars(module).values() if isinstance(each, Cache)}
    return [each for each in found.values() if callable(each) and inspect.signature(each).parameters]


def forgetting(rows: Iterable[Row], cleared: list[Cache]) -> Iterator[tuple[str, str]]:
    """The pairs, one by one; the caches are cleared before each."""
    for row in rows:
        for cache in cleared:
            cache.cache_clear()
        yield row.gold, row.answer


def cpu_seconds(pids: Iterable[int] = ()) -> float:
    """CPU seconds so far of this process, of its children that ended, and of living children."""
    import resource

    ended = resource.getrusage(resource.RUSAGE_CHILDREN)  # finer than os.times, which counts ticks of 10 ms
    return time.process_time() + ended.ru_utime + ended.ru_stime + sum(map(living_seconds, pids))


def living_seconds(pid: int) -> float:
    """CPU seconds of another process, by its clock (clock_getcpuclockid of POSIX, as Linux numbers them).

    0 where there is none: its warm-up then counts as work, to our disadvantage.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def in_fresh_process(timed: Timed, rows: list[Row]) -> Timing:
    """One timing in a process that has done nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(timed, rows).result()


def measure_speed(data: Path, report: Report, *, quick: bool, long_golds: bool, rival: bool) -> None:
    """Pairs per CPU second and errors, the sides in turn. `rival`: Math-Verify too. Raises as `speed_rows`."""
    rows = speed_rows(data, long_golds=long_golds)
    if quick:
        rows = [row for label in (True, False) for row in [r for r in rows if r.label is label][: QUICK_PAIRS // 2]]
    ways: dict[str, Timed] = {OURS: time_ours, THEIRS: time_math_verify, COLD: time_ours_cold}
    if not rival:
        del ways[THEIRS]
    timings: dict[str, list[Timing]] = {way: [] for way in ways}
    for turn in range(1 if quick else TURNS):
        for way, timed in ways.items():
            progress(f"speed, turn {turn + 1}: {way}")
            timings[way].append(in_fresh_process(timed, rows))
    makeup = dict(sorted(Counter(row.kind for row in rows).items()))
    golds = "whole solutions" if long_golds else "answers alone"
    report.data["speed"] = {"pairs": len(rows), "make-up": makeup, "GSM8K golds": golds}
    report.details.append(f"speed, make-up of the {len(rows):,} pairs: {makeup}; GSM8K golds: {golds}")
    speed_lines(report, rows, timings)
    speed_details(report, rows, timings)


def speed_lines(report: Report, rows: list[Row], timings: dict[str, list[Timing]]) -> None:
    """The lines of the table: rates warm and cold, and errors."""
    rates = {way: [len(rows) / each.cpu_s for each in found] for way, found in timings.items()}
    cells = {way: rate_cell(found, rates.get(THEIRS)) for way, found in rates.items()}
    wrong = {way: errors(rows, found[0].verdicts) for way, found in timings.items()}
    totals = {way: f"{each.total}: {each}" for way, each in wrong.items()}
    name = f"speed, {len(rows):,} pairs, pairs per CPU second, median of {len(rates[OURS])} (least–most)"
    report.line(f"{name}; ours warm: memo on", "≥ 10 × in the same run", cells.get(THEIRS, NONE), cells[OURS])
    cold = "the same; ours cold: memo=0, caches of reading and comparing cleared before every pair"
    report.line(cold, NONE, cells.get(THEIRS, NONE), cells[COLD])
    report.line("errors there, in total", "no more", totals.get(THEIRS, NONE), totals[OURS])
    report.data["speed"] |= {
        "rates": rates,
        "errors": {way: {**each._asdict(), "total": each.total} for way, each in wrong.items()},
    }


def speed_details(report: Report, rows: list[Row], timings: dict[str, list[Timing]]) -> None:
    """What stands under the table: warm-up, whether turns differ, cleared caches, disagreements."""
    first = errors(rows, timings[OURS][0].verdicts)
    for way, found in timings.items():
        warm = statistics.median(each.warm_s for each in found)
        said = [errors(rows, each.verdicts) for each in found]
        notes = f"turns with other errors than the first: {sum(each != said[0] for each in said)}"
        if found[0].caches:
            notes += f", errors as when warm: {said[0] == first}, caches cleared: {', '.join(found[0].caches)}"
        report.details.append(f"speed, {way}: warm-up {warm:.2f} CPU s (left out), {notes}")
    theirs = timings[THEIRS][0].verdicts if THEIRS in timings else None
    report.disagreements("speed", rows, timings[OURS][0].verdicts, theirs)


def rate_cell(rates: list[float], theirs: list[float] | None) -> str:
    """Median and spread of the turns, and how many times the median of Math-Verify.

    >>> rate_cell([3000, 2000, 4000], [100, 100, 200])
    '3,000 (2,000–4,000), 30.0 ×'
    """
    median = statistics.median(rates)
    times = f", {median / statistics.median(theirs):.1f} ×" if theirs and theirs is not rates else ""
    return f"{median:,.0f} ({min(rates):,.0f}–{max(rates):,.0f}){times}"
