"""What commands print on standard output when they are done: tables for people.

Texts of a model are cut; see `shown`. Programs read `--json`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stillroom.common.formatting import interval, p_words, share
from stillroom.common.printing import Table, shown, terminal, wide
from stillroom.common.records import State
from stillroom.common.stats.intervals import mcnemar_exact, wilson
from stillroom.evaluation.results import Evaluation
from stillroom.traces.answers import CheckSummary, Reason, state_of
from stillroom.traces.answers.math_verify.compare import AgainstSummary, Disagreement, Score
from stillroom.traces.answers.math_verify.disagreements import Theirs, Why

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_DIFFERENCES = 50
CELL = 32
"""Characters of a text in a table."""


def show_evaluation(evaluation: Evaluation, console: Console | None = None) -> None:
    """What a student and those that it is held against have got."""
    from stillroom.report.evaluation_table import eval_table

    (console or terminal()).print(eval_table(evaluation))


def show_check(summary: CheckSummary, out: Path | None) -> None:
    """What a check of a file came to."""
    console = terminal()
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    table.add_column("verdict")
    table.add_column("reason")
    table.add_column("answers", justify="right")
    table.add_column("share", justify="right")
    facts = summary.as_dict()
    counted = [(state_of(Reason(reason)).value, str(reason), n) for reason, n in summary.reasons.items()]
    for state, reason, n in sorted(counted, key=lambda row: (row[0], -row[2])):
        table.add_row(state, reason, f"{n:,}", share(n / summary.rows))
    console.print(table)
    expected = facts["expected"]
    if expected is not None:
        agreed, labelled = expected["agreed"], expected["labelled"]
        console.print(f"as expected: {agreed:,} of {labelled:,} labelled ({share(agreed / labelled)})")
    written = f"; one verdict a line in {out}" if out is not None else ""
    console.print(f"{summary.rows:,} answers in {summary.seconds:.1f} s{written}", soft_wrap=True)


def show_against(summary: AgainstSummary, out: Path | None) -> None:
    """Where our checker and Math-Verify differ, and why."""
    console = wide(terminal())
    console.print(_outcomes(summary))
    if summary.disagreements:
        console.print()
        console.print(_reasons(summary))
        console.print()
        console.print(_differences(summary.disagreements[:SHOWN_DIFFERENCES]))
    hidden = len(summary.disagreements) - SHOWN_DIFFERENCES
    if hidden > 0:
        console.print(f"and {hidden:,} more: --out FILE writes them all")
    if summary.score is not None:
        _show_score(console, summary.score)
    written = f"; the pairs where they differ, one a line, in {out}" if out is not None else ""
    differ = f"ours and Math-Verify differ on {len(summary.disagreements):,} of {summary.rows:,} pairs"
    console.print(f"{differ}, in {summary.seconds:.1f} s{written}", soft_wrap=True)


def _columns(*names: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold", justify="right" if name in right else "left")
    return table


def _outcomes(summary: AgainstSummary) -> Table:
    """Pairs by our state (down) and by what became of them at Math-Verify (across)."""
    across = tuple(f"Math-Verify: {theirs}" if theirs is Theirs.ACCEPTED else theirs.value for theirs in Theirs)
    table = _columns("ours", *across, right=across)
    for ours in State:
        table.add_row(ours.value, *(f"{summary.table[ours, theirs]:,}" for theirs in Theirs))
    return table


def _reasons(summary: AgainstSummary) -> Table:
    table = _columns("why they differ", "pairs", "meaning", right=("pairs",))
    for reason, count in summary.whys.most_common():
        table.add_row(reason.value, f"{count:,}", reason.sentence)
    return table


def _differences(found: list[Disagreement]) -> Table:
    table = _columns("line", "why", "ours", "theirs", "gold", "answer", "Math-Verify read", right=("line",))
    for d in found:
        ours = f"{d.ours.state} ({d.ours.reason})" if d.ours.state is State.UNSCORED else d.ours.state.value
        sides = (d.facts.gold.reading, d.facts.answer.reading) if d.facts is not None else ()
        read = " | ".join(shown(side, CELL // 2) or "nothing" for side in sides)
        texts = (shown(d.gold, CELL, end=True), shown(d.answer, CELL, end=True), read)
        reason = f"{d.why}: {', '.join(d.policies)}" if d.why is Why.POLICY and d.policies else d.why.value
        table.add_row(f"{d.line:,}", reason, ours, d.theirs.value, *texts)
    return table


def _show_score(console: Console, score: Score) -> None:
    console.print(f"as expected, of {score.labelled:,} labelled pairs:", end=" ")
    console.print(f"ours {_share(score.ours, score.labelled)}, Math-Verify {_share(score.theirs, score.labelled)}")
    if score.differing:
        p = mcnemar_exact(score.ours_differing, score.theirs_differing)
        alone = f"ours on {score.ours_differing:,}, Math-Verify on {score.theirs_differing:,}"
        console.print(
            f"right where they differ, of {score.differing:,} labelled pairs: {alone} (McNemar {p_words(p)})"
        )


def _share(right: int, n: int) -> str:
    found = wilson(right, n)
    return f"{right:,} ({share(found.value)} {interval(found.low, found.high)})"
