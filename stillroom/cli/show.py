"""What commands print on standard output when they are done: tables for people.

Texts of a model are cut; see `shown`. Programs read `--json`. What one command alone needs is imported when it runs.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from stillroom.common.formatting import NOTHING, interval, money, p_words, share
from stillroom.common.printing import Table, columns, plain, shown, terminal, wide
from stillroom.common.records import State
from stillroom.common.stats.intervals import mcnemar_exact, wilson

if TYPE_CHECKING:
    from rich.text import Text

    from stillroom.evaluation.results import Evaluation
    from stillroom.pipeline.config.load import Summary
    from stillroom.pipeline.flows.audit import PairsFound
    from stillroom.pipeline.flows.export import Exported
    from stillroom.pipeline.planning.status import Status
    from stillroom.pipeline.stages.judge import Calibrated
    from stillroom.pipeline.stages.verify import VerifierCalibrated
    from stillroom.students.lint.report import LintReport
    from stillroom.students.records import Signals
    from stillroom.traces.answers import CheckSummary
    from stillroom.traces.answers.math_verify.compare import AgainstSummary, Disagreement

SHOWN_DIFFERENCES = 50
CELL = 32
"""Characters of a text in a table."""
SHOWN_TEXT = 400
"""Characters of a text of a pair."""


def show_evaluation(evaluation: Evaluation) -> None:
    """What a student and those that it is held against have got."""
    from stillroom.report.evaluation_table import eval_table

    terminal().print(eval_table(evaluation))


def show_exported(found: Exported) -> None:
    """What was written, and how its tool is told to read it."""
    console, what = terminal(), "pairs" if found.source.pairs else "rows"
    console.print(f"{found.rows:,} {what} written to {found.out} as {found.lines:,} lines", soft_wrap=True)
    if found.extra is not None:
        console.print(f"its entry is in {found.extra}", soft_wrap=True)
    if found.usage:
        console.print(f"\n{found.usage}", soft_wrap=True)


# -- a run -------------------------------------------------------------------------------------------------------


def show_status(found: Status) -> None:
    """The state of a run: what its ledger holds, what that has cost, what running it now would cost."""
    console = wide(terminal())
    if (s := found.salvaged) is not None:
        saved = f"saved {s.attempts:,} attempts, {s.verdicts:,} verdicts, {s.failures:,} failures"
        lost = f"lost {s.missing:,} attempts; {s.broken:,} damaged rows, {s.orphans:,} verdicts of lost attempts"
        console.print(f"{saved}, {s.cancelled:,} cancelled\n{lost} left out", soft_wrap=True)
        console.print(f"the damaged file is kept as {s.kept}", soft_wrap=True)
    state = f"finished {found.finished}" if found.finished else "not finished"
    where = plain(f"{found.name} in {found.folder}", "bold")
    console.print(where + plain(f": started {found.started}, {state}"), soft_wrap=True)
    if found.parts:
        console.print(parts_table(found.parts))
    t, table = found.totals, columns("", "n", right=("n",), show_header=False)
    for state, n in sorted(found.verdicts.items()):
        table.add_row(f"attempts {state}" if state != "none" else "attempts without a verdict", f"{n:,}")
    table.add_row("requests failed", f"{t.failures:,}")
    for kind, n in sorted(found.failures.items()) if len(found.failures) > 1 else ():
        table.add_row(f"  {kind}", f"{n:,}")
    unknown = f" + {t.cancelled_unknown:,} unknown" if t.cancelled_unknown else ""
    table.add_row("requests cancelled (tokens)", f"{t.cancelled:,} ({t.cancelled_tokens:,}{unknown})")
    if found.rows is not None:
        table.add_row("rows written", f"{found.rows:,}")
    console.print(table)
    if found.costs:
        numbers = ("requests", "tokens asked", "answered", "money")
        table = columns("cost so far", *numbers, right=numbers)
        for cost in found.costs:
            counts = (cost.requests, cost.prompt_tokens, cost.completion_tokens + cost.cancelled_tokens)
            table.add_row(cost.stage, *(f"{n:,}" for n in counts), NOTHING if cost.usd is None else money(cost.usd))
        console.print()
        console.print(table)
    if found.labels is not None:
        console.print()
        found.labels.show(console)
    if found.signals is not None:
        console.print()
        console.print(signals_line(found.signals), soft_wrap=True)
    if found.plan is not None:
        console.print()
        found.plan.show(console)
    elif found.no_plan:
        console.print(f"what would be paid for now cannot be said: {found.no_plan}", soft_wrap=True)
    if found.evaluation is not None:
        from stillroom.evaluation.results import ACCURACY
        from stillroom.report.evaluation_table import eval_table
        from stillroom.report.preferences import preference_table

        traces = any(row.metric == ACCURACY for row in found.evaluation.results)
        console.print(eval_table(found.evaluation) if traces else preference_table(found.evaluation))


def signals_line(kept: Signals) -> str:
    """What is kept of a teacher's distribution, and what a training would ask it for now."""
    held = f"cache of the teacher: {kept.rows:,} rows, {kept.positions:,} positions, {kept.bytes / 1e6:,.2f} MB"
    if kept.missing is None or kept.wanted is None or kept.missing_tokens is None:
        return f"{held}; what a training would ask for cannot be said: {kept.why}"
    asked = f"{kept.missing_tokens:,} tokens ({kept.missing:,} rows)" if kept.missing else "nothing"
    return f"{held}; training on {kept.wanted:,} rows now would ask it for {asked}"


def parts_table(parts: dict[str, Status]) -> Table:
    """A line for each run."""
    numbers = ("attempts", "accepted", "rows", "tokens")
    table = columns("run", *numbers, "state", right=numbers)
    for name, part in parts.items():
        rows = NOTHING if part.rows is None else f"{part.rows:,}"
        accepted, attempts = part.verdicts.get("accepted", 0), sum(part.verdicts.values())
        counts = (f"{attempts:,}", f"{accepted:,}", rows, f"{part.totals.completion_tokens:,}")
        table.add_row(name, *counts, "finished" if part.finished else "not finished")
    return table


def show_lint(report: LintReport) -> None:
    """What was found, and a few rows with their mask."""
    from stillroom.report.lint import lint_masks, lint_table

    console = terminal()
    console.print(lint_table(report))
    if report.shown:
        console.print()
        console.print(lint_masks(report))


# -- checked answers ---------------------------------------------------------------------------------------------


def show_check(summary: CheckSummary, out: Path | None) -> None:
    """What a check of a file came to."""
    from stillroom.traces.answers import Reason, state_of

    console = terminal()
    table = columns("verdict", "reason", "answers", "share", right=("answers", "share"))
    by_hand = {Reason.REVIEWED: "by hand"}
    counted = [(by_hand.get(Reason(r)) or state_of(Reason(r)).value, str(r), n) for r, n in summary.reasons.items()]
    for state, reason, n in sorted(counted, key=lambda row: (row[0], -row[2])):
        table.add_row(state, reason, f"{n:,}", share(n / summary.rows))
    console.print(table)
    expected = summary.as_dict()["expected"]
    if expected is not None:
        agreed, labelled = expected["agreed"], expected["labelled"]
        console.print(f"as expected: {agreed:,} of {labelled:,} labelled ({share(agreed / labelled)})")
    if summary.skipped:
        console.print(f"{len(summary.skipped):,} rows skipped, the first: {summary.skipped[0]}", soft_wrap=True)
    written = f"; one verdict a line in {out}" if out is not None else ""
    console.print(f"{summary.rows:,} answers in {summary.seconds:.1f} s{written}", soft_wrap=True)


def show_against(summary: AgainstSummary, out: Path | None) -> None:
    """Where our checker and Math-Verify differ, and why."""
    from stillroom.traces.answers.math_verify.disagreements import Theirs

    console = wide(terminal())
    # Pairs by our state (down) and by what became of them at Math-Verify (across).
    across = [f"Math-Verify: {theirs}" if theirs is Theirs.ACCEPTED else theirs.value for theirs in Theirs]
    outcomes = columns("ours", *across, right=across)
    for ours in State:
        outcomes.add_row(ours.value, *(f"{summary.table[ours, theirs]:,}" for theirs in Theirs))
    console.print(outcomes)
    if summary.disagreements:
        reasons = columns("why they differ", "pairs", "meaning", right=("pairs",))
        for reason, count in summary.whys.most_common():
            reasons.add_row(reason.value, f"{count:,}", reason.sentence)
        console.print()
        console.print(reasons)
        for difference in summary.disagreements[:SHOWN_DIFFERENCES]:
            console.print()
            console.print(_difference(difference))
    hidden = len(summary.disagreements) - SHOWN_DIFFERENCES
    if hidden > 0:
        console.print(f"and {hidden:,} more: --out FILE writes them all")
    if (score := summary.score) is not None:
        right, right_theirs = (_right(right, score.labelled) for right in (score.ours, score.theirs))
        expected = f"as expected, of {score.labelled:,} labelled pairs"
        console.print(f"{expected}: ours {right}, Math-Verify {right_theirs}", soft_wrap=True)
        if score.differing:
            p = p_words(mcnemar_exact(score.ours_differing, score.theirs_differing))
            alone = f"ours on {score.ours_differing:,}, Math-Verify on {score.theirs_differing:,}"
            console.print(
                f"right where they differ, of {score.differing:,} labelled pairs: {alone} (McNemar {p})",
                soft_wrap=True,
            )
    written = f"; the pairs where they differ, one a line, in {out}" if out is not None else ""
    differ = f"ours and Math-Verify differ on {len(summary.disagreements):,} of {summary.rows:,} pairs"
    console.print(f"{differ}, in {summary.seconds:.1f} s{written}", soft_wrap=True)


def _difference(d: Disagreement) -> Text:
    """One pair, in five lines: seven columns are more than a terminal has."""
    from stillroom.traces.answers.math_verify.disagreements import Why

    ours = f"{d.ours.state} ({d.ours.reason})" if d.ours.state is State.UNSCORED else d.ours.state.value
    sides = (d.facts.gold.reading, d.facts.answer.reading) if d.facts is not None else ()
    read = " | ".join(shown(side, CELL) or "nothing" for side in sides)
    reason = f"{d.why}: {', '.join(d.policies)}" if d.why is Why.POLICY and d.policies else d.why.value
    lines = [f"  gold    {shown(d.gold, 2 * CELL, end=True)}", f"  answer  {shown(d.answer, 2 * CELL, end=True)}"]
    if read:
        lines.append(f"  read    {read} (Math-Verify)")
    return plain(f"line {d.line:,}: {reason}; ours {ours}, Math-Verify {d.theirs.value}\n") + plain("\n".join(lines))


def _right(right: int, n: int) -> str:
    found = wilson(right, n)
    return f"{right:,} ({share(found.value)} {interval(found.low, found.high)})"


# -- preferences -------------------------------------------------------------------------------------------------


def show_calibrated(found: Calibrated) -> None:
    """One judge on labelled pairs, and what the gate says."""
    from stillroom.report.preferences import calibration_table

    wide(terminal()).print(calibration_table(found.calibration, found.gate))


def show_verifier(found: VerifierCalibrated) -> None:
    """A verifier on labelled answers, and what the gate says."""
    from stillroom.report.preferences import verifier_table

    wide(terminal()).print(verifier_table(found.calibration, found.gate))


def show_pairs(found: PairsFound, count: int) -> None:
    """The audit of pairs, and some of them."""
    console = wide(terminal())
    for note in found.notes:
        console.print(plain(note), soft_wrap=True)
    console.print(found.audit.table())
    for row in found.rows[:count]:
        console.print()
        console.print(plain(shown(str(row.get("task_id", "")), 60), "bold"))
        for name in ("prompt", "chosen", "rejected"):
            text = row[name]
            if isinstance(text, list):
                text = " ".join(str(turn.get("content", "")) for turn in text if isinstance(turn, dict))
            console.print(plain(f"{name:<9}", "bold") + plain(shown(str(text), SHOWN_TEXT)), soft_wrap=True)
    console.print(f"{len(found.rows):,} pairs in {found.path}", soft_wrap=True)


# -- recipes -----------------------------------------------------------------------------------------------------


def show_recipes(found: Sequence[Summary]) -> None:
    """The shipped recipes; one line for each where it is not a terminal."""
    console = terminal()
    names, kinds = (max(map(len, column)) for column in list(zip(*found, strict=True))[:2])
    for name, kind, description in found:
        head = f"{name:<{names}}  {kind:<{kinds}}  "
        if console.is_terminal:
            description = f"\n{' ' * len(head)}".join(wrap(description, max(20, console.width - len(head))))
        console.print(head + description, soft_wrap=True)


def show_new(path: Path, missing: Sequence[str]) -> None:
    """Where a new recipe was written, and what has to be filled in."""
    say = terminal().print
    say(f"{path} written", soft_wrap=True)
    if missing:
        say(f"fill in (FILL_IN): {', '.join(missing)}", soft_wrap=True)
    say(f"then: stillroom run {shlex.quote(str(path))}", soft_wrap=True)
