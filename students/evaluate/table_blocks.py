"""The blocks of the table below the models and their differences: several answers, several seeds, what was forgotten.

    for block in (at_k_block(evaluation), seeds_block(evaluation), forgetting_block(evaluation)):
        if block is not None: console.print(block.title, block.table)

Each is None where nothing of it was measured. A value before and one after share the interval of their difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.text import Text

from stillroom.sampling.printing import Table
from stillroom.students.evaluate.measure import DIFFERENCE_OVER_SEEDS, OVER_SEEDS
from stillroom.students.evaluate.results import Comparison, Evaluation, Result
from stillroom.students.evaluate.wording import (
    direction,
    extra,
    limits,
    p_of,
    plain,
    points,
    share,
    text_of,
    verdict,
)

PASS = re.compile(r"pass_at_(\d+)")
SUFFIX = "_accuracy"
PERPLEXITY, RATIO = "perplexity", "perplexity_ratio"


class Block(NamedTuple):
    """A table under its title, which may be wider than the table."""

    title: str
    table: Table


def block(title: str) -> Block:
    """An empty one."""
    return Block(title, Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim"))


def add_columns(table: Table, left: str, *right: str) -> None:
    """One column at the left that may fold, the others as wide as they are."""
    table.add_column(left, overflow="fold")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)


def p_header(comparisons: list[Comparison]) -> str:
    """Says whether p was corrected."""
    return "p, Holm" if any(extra(c, "p_holm") is not None for c in comparisons) else "p"


def p_shown(comparison: Comparison) -> str:
    """After Holm where it was corrected."""
    corrected = extra(comparison, "p_holm")
    return p_of(comparison.p if corrected is None else corrected)


# -- several answers to each task ----------------------------------------------------------------------------------


def at_k_block(evaluation: Evaluation) -> Block | None:
    """pass@k and majority@k of each model that was drawn several times."""
    rows = [(row, int(match[1])) for row in evaluation.results if (match := PASS.fullmatch(row.metric))]
    if not rows:
        return None
    draws, temperature = extra(rows[0][0], "draws"), extra(rows[0][0], "temperature")
    how = f" of {draws:.0f} answers to each task, temperature {temperature:g}" if draws and temperature else ""
    found = block(f"Any of k right, and the majority of k{how}")
    table = found.table
    add_columns(table, "model", "k", "any", "95 % interval", "majority", "95 % interval", "n")
    for row, k in rows:
        majority = evaluation.find(row.who, f"majority_at_{k}")
        sides = (share(row), _of(row), share(majority), _of(majority))
        table.add_row(row.who, str(k), *sides, f"{row.n:,}")
    return found


def _of(row: Result | None) -> str:
    return limits(row.low, row.high) if row else "–"


# -- several seeds -------------------------------------------------------------------------------------------------


def seeds_block(evaluation: Evaluation) -> Block | None:
    """Each student over several trainings, and what it is above the others."""
    students = [row for row in evaluation.results if row.metric == OVER_SEEDS]
    if not students:
        return None
    found = block("Several trainings, each from another seed")
    add_columns(found.table, "", "points", "95 % interval", "n")
    for row in students:
        each = [plain(value) for value in (row.model_extra or {}).get("each", ())]
        name = f"{row.who} over {len(each)} trainings: {', '.join(each)} %"
        found.table.add_row(name, plain(row.value), _of(row), f"{row.n:,}")
        for other in evaluation.results:
            if (other.who, other.metric) == (row.who, DIFFERENCE_OVER_SEEDS):
                against = f"minus {text_of(other, 'against')}"
                found.table.add_row(against, points(other.value), _of(other), f"{other.n:,}")
    return found


# -- what was not trained ------------------------------------------------------------------------------------------


def forgetting_block(evaluation: Evaluation) -> Block | None:
    """Tasks that were not trained, and held-out text: before, after, and the difference with its interval."""
    comparisons = [c for c in evaluation.comparisons if text_of(c, "metric")]
    ratios = [row for row in evaluation.results if row.metric == RATIO]
    if not comparisons and not ratios:
        return None
    found = block("Not trained, before and after: what may have been forgotten")
    table = found.table
    columns = ("n", "before", "after", "change", "95 % interval", p_header(comparisons))
    add_columns(table, "", *columns)
    table.add_column("", no_wrap=True)
    for cells in (*_tasks(evaluation, comparisons), *_texts(evaluation, ratios)):
        table.add_row(*cells)
    return found


def _tasks(evaluation: Evaluation, comparisons: list[Comparison]) -> Iterator[tuple[str | Text, ...]]:
    for c in comparisons:
        metric = text_of(c, "metric") or ""
        sides = (share(evaluation.find(who, metric)) for who in (c.b, c.a))
        change = (points(c.difference), limits(c.low, c.high), p_shown(c), verdict(c))
        yield metric.removesuffix(SUFFIX), f"{c.n:,}", *sides, *change


def _texts(evaluation: Evaluation, ratios: Sequence[Result]) -> Iterator[tuple[str | Text, ...]]:
    """Perplexity: the change is that of its ratio, in percent of what it was. Where several models were measured,
    each is named."""
    for ratio in ratios:
        sides = (evaluation.find(who, PERPLEXITY) for who in (text_of(ratio, "against") or "", ratio.who))
        values = (f"{row.value:,.2f}" if row else "–" for row in sides)
        change = (f"{points(ratio.value - 1)} %", limits(ratio.low - 1, ratio.high - 1))
        said = direction(ratio.low, ratio.high, 1.0, less_is_better=True)
        name = PERPLEXITY if len(ratios) == 1 else f"{PERPLEXITY}, {ratio.who}"
        yield name, f"{ratio.n:,}", *values, *change, "", said
