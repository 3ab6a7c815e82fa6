"""Do the traces of two rounds differ from one another as much? Two measures of many texts, at equal size.

    change = distinct_change(now, before, runs, seed=7)     # texts by task; `runs` or `whole`: what is told apart
    change.now, change.before, change.relative              # relative: (now − before) / before, with its interval

`whole` tells whole texts apart: a teacher that repeats one trace for n tasks has a share of 1/n. `runs` tells runs of
4 words apart, as distinct-4 does (Li et al. 2016, arXiv:1510.03055): it also falls where traces differ in their last
number alone, but not for arithmetic from one template, most of whose runs hold a number of the task.

Any share of distinct things falls as more of them are looked at, so both sides are sampled at one size, half of what
the smaller side has. Samples are drawn without replacement (subsampling, Politis and Romano 1994, Ann. Stat. 22,
2031–2050): a bootstrap would draw tasks twice and find their traces to be alike. Each sample takes one trace of a
task, so a round with more siblings is not less diverse. Refuses fewer than 10 tasks a side.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from stillroom.common.stats.bootstrap import percentiles
from stillroom.common.stats.intervals import Interval
from stillroom.common.text import tokens

RUN = 4
"""Words of a run."""
FEWEST = 10
"""Tasks that each side needs."""
SAMPLES = 1_000
BUDGET = 10_000
"""Items (runs, or texts) of a sample, at most: it bounds what is computed, and of each text so much is read."""

Texts = Mapping[str, Sequence[str]]
"""The traces of each task, by task id."""
Items = Callable[[str], Sequence[Hashable]]
"""What of a text is told apart."""


class Change(NamedTuple):
    """Shares of distinct items in samples of one size. `now`, `before`: n counts tasks. `relative`: (now − before) /
    before; n is that of the smaller side. `size`: items of a sample."""

    now: Interval
    before: Interval
    relative: Interval
    size: int


def whole(text: str) -> Sequence[Hashable]:
    """A text as one item: its words, numbers and signs, whatever its case, spaces and punctuation."""
    return (tuple(tokens(text)),)


def runs(text: str) -> Sequence[Hashable]:
    """Every run of 4 words of a text; of one that is shorter, all of it."""
    words = tokens(text)[: BUDGET + RUN]
    return [tuple(words[i : i + RUN]) for i in range(max(1, len(words) - RUN + 1))]


def distinct_change(now: Texts, before: Texts, items: Items, *, seed: int) -> Change | None:
    """How the share of distinct items changed; None where a side has fewer than 10 tasks with a trace."""
    sides = [_numbered(texts, items) for texts in (now, before)]
    fewest = min(map(len, sides))
    if fewest < FEWEST:
        return None
    # Half of the items that one trace of each task has, on average over its traces.
    halves = [round(sum(sum(map(len, traces)) / len(traces) for traces in side) / 2) for side in sides]
    size = max(1, min(BUDGET, *halves))
    drawn = [_shares(side, size, seed + i) for i, side in enumerate(sides)]
    of_now, of_before = (
        percentiles(float(shares.mean()), shares, len(side)) for shares, side in zip(drawn, sides, strict=True)
    )
    relative = percentiles(of_now.value / of_before.value - 1, drawn[0] / drawn[1] - 1, fewest)
    return Change(of_now, of_before, relative, size)


def _numbered(texts: Texts, items: Items) -> list[list[Any]]:
    """For each task an array of numbers for each of its traces: equal items have equal numbers."""
    import numpy as np

    numbers: dict[Hashable, int] = {}
    return [
        [np.array([numbers.setdefault(item, len(numbers)) for item in items(text)]) for text in texts[task]]
        for task in sorted(texts)
        if texts[task]
    ]


def _shares(side: Sequence[Sequence[Any]], size: int, seed: int) -> Any:
    """(samples,): the share of distinct items in each, of `size` items or what one trace of each task has."""
    import numpy as np

    draw, shares = np.random.default_rng(seed), []
    kinds = 1 + max(int(trace.max()) for traces in side for trace in traces)
    for _ in range(SAMPLES):
        picked, found = [], 0
        for task in draw.permutation(len(side)).tolist():
            traces = side[task]
            picked.append(traces[int(draw.integers(len(traces)))] if len(traces) > 1 else traces[0])
            found += len(picked[-1])
            if found >= size:
                break
        items = np.concatenate(picked)[:size]
        shares.append(np.count_nonzero(np.bincount(items, minlength=kinds)) / len(items))
    return np.array(shares)
