"""The preference path as tables: judges held against people, and what a student writes after its training.

terminal().print(calibration_table(calibration, verdict))
terminal().print(preference_table(read_eval(run / "eval.json")))
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from rich.console import Group, RenderableType

from stillroom.common.formatting import NOTHING, interval, number, p_words, points, share, signed
from stillroom.common.printing import columns, plain
from stillroom.evaluation.results import AFTER, BEFORE, OF_EOS, RETAINED, Evaluation, Result, extra
from stillroom.judges.calibrate import Calibration, Estimate, GateVerdict
from stillroom.judges.verifier_gate import VerifierCalibration
from stillroom.report.evaluation_table import INTERVAL, Name, moved

_MEASURES = (
    ("accuracy, one judgement", "accuracy"),
    ("accuracy, final verdict", "final_accuracy"),
    ("accuracy where it names a winner", "decided_accuracy"),
    ("Cohen's kappa, order verdict and label", "kappa"),
    ("Cohen's kappa, final verdict and label", "final_kappa"),
    ("consistency over the orders", "consistency"),
    ("P(first)", "first"),
    ("correlation of the verdict with length", "length_correlation"),
    ("correlation of the label with length", "label_length_correlation"),
    ("correlation of the score with length", "score_length_correlation"),
    ("accuracy of 'longer wins'", "longer_accuracy"),
    ("accuracy minus that of 'longer wins'", "beats_longer"),
)


def calibration_table(calibration: Calibration, verdict: GateVerdict | None = None) -> Group:
    """One judge in full: every figure with its interval, its failures, its notes, and what the gate says."""
    table = columns("", "value", "95 %", "n", right=("value", "95 %", "n"))
    for name, field in _MEASURES:
        found: Estimate | None = getattr(calibration, field)
        if found is None:
            table.add_row(name, NOTHING)
        else:
            limits = interval(found.low, found.high, 3, of=1)
            table.add_row(name, number(found.value, 3), limits, number(found.n))
    counts = columns("", "", show_header=False)
    counts.add_row("pairs, judged", f"{calibration.pairs}, {calibration.judged}")
    counts.add_row("requests", str(calibration.calls))
    counts.add_row("judgements by state", ", ".join(f"{n} {state}" for state, n in calibration.states.items()))
    failed = calibration.failures
    for name, groups in (("answer", failed.by_answer), ("length", failed.by_length), ("source", failed.by_source)):
        if any(count.failed for count in groups.values()):
            parts = (f"{key} {count.failed}/{count.asked}" for key, count in groups.items())
            counts.add_row(f"failures by {name}", ", ".join(parts))
    if verdict is not None:
        counts.add_row("gate", "passed" if verdict.passed else "refused")
    lines = (*(verdict.failures if verdict else ()), *calibration.notes)
    return Group(plain(calibration.judge, "bold"), table, "", counts, *map(plain, lines))


def verifier_table(found: VerifierCalibration, verdict: GateVerdict) -> Group:
    """A verifier on labelled answers: how right it is, what it lets through, and what the gate says."""
    table = columns("", "value", "95 %", "n", right=("value", "95 %", "n"))
    for name, measured in (
        ("right (open counts as not accepted)", found.accuracy),
        ("wrong answers accepted", found.false_accepts),
        ("right answers rejected", found.false_rejects),
        ("decided", found.decided),
        ("the same both ways round", found.consistency),
        ("of what the rules leave open: right", found.open_accuracy),
        ("of what the rules leave open: wrong accepted", found.open_false_accepts),
    ):
        if measured is None:
            table.add_row(name, NOTHING)
        else:
            limits = interval(measured.low, measured.high, 3, of=1)
            table.add_row(name, number(measured.value, 3), limits, number(measured.n))
    counts = columns("", "", show_header=False)
    counts.add_row("answers", f"{found.answers:,}, {found.wrong:,} of them wrong, {found.open_answers:,} open")
    counts.add_row("requests, tokens", f"{found.calls:,}, {found.tokens:,}")
    counts.add_row("verdicts", ", ".join(f"{n:,} {said.replace('_', ' ')}" for said, n in found.said.items()))
    counts.add_row("gate", "passed" if verdict.passed else "refused")
    return Group(plain(found.verifier, "bold"), table, "", counts, *map(plain, verdict.failures))


def comparison_table(rows: Iterable[tuple[str, str, Calibration, GateVerdict]]) -> Group:
    """Several judges, as (judge, prompt method, calibration, gate): how right they are, then how even-handed.

    Two tables, a line for each method under the name of its judge: all figures in one line need 150 columns.
    """
    figures = ("accuracy", "kappa", "minus longer", "consistency", "P(first)", "failed")
    right = columns("judge, method", *figures[:3], right=figures)
    even = columns("judge, method", *figures[3:], "gate", right=figures)
    for judge, group in groupby(rows, key=lambda row: row[0]):
        right.add_row(plain(judge, "bold"))
        even.add_row(plain(judge, "bold"))
        for _, method, found, verdict in group:
            right.add_row(Name(f"  {method}"), *map(_short, (found.accuracy, found.kappa, found.beats_longer)))
            failed = f"{found.pairs - found.judged}/{found.pairs}"
            gate = "passed" if verdict.passed else "refused"
            even.add_row(Name(f"  {method}"), _short(found.consistency), _short(found.first), failed, gate)
    return Group(right, "", even)


def _short(found: Estimate | None) -> str:
    """`.82 [.76, .87]`: none of these figures exceeds 1."""
    if found is None:
        return NOTHING
    text = f"{number(found.value, 2)} {interval(found.low, found.high, 2, of=1)}"
    return re.sub(r"\b0\.", ".", text)


# -- an evaluation -----------------------------------------------------------------------------------------------

UNTRAINED = "untrained"
"""The name of tasks that the recipe gave none."""
LABEL = 30
"""Cells of the first column, where there is room: the same in every part."""
_JUDGE = re.compile(r"pairs_judge|other_judge(?:_\d+)?")


class _Line(NamedTuple):
    """A measure. `digits`: of its values and limits, a share's in per cent. `sign`: a plus for what is above 0."""

    label: str
    metric: str
    digits: int = 1
    share: bool = True
    sign: bool = False

    def cells(self, row: Result) -> tuple[str, str]:
        """The value and its limits."""
        shown = (signed if self.sign else number)(row.value, self.digits)
        limits = interval(row.low, row.high, self.digits, of=100 if self.share else 1)
        return share(row.value, self.digits) if self.share else shown, limits


_SIDES = (_Line("stopped by itself", "share_stopped"), _Line("tokens", "mean_completion_tokens", 0, share=False))
_SCORES = (_Line("{0} score", "_score", 3, share=False),)
_GAINS = (
    _Line("{0} score", "_score_raw", 3, share=False, sign=True),
    _Line("  at equal length", "_score_at_equal_length", 3, share=False, sign=True),
    _Line("  of matched length", "_score_matched_length", 3, share=False, sign=True),
)
_WINS = (_Line("{0} judge: wins", "_win_rate"), _Line("  at equal length", "_win_rate_at_equal_length"))
_PAIRS = (
    _Line("preferred by implicit reward", "implicit_reward_accuracy"),
    _Line("  per token", "implicit_reward_accuracy_per_token"),
    _Line("likelier for the model before", "likelihood_accuracy"),
    _Line("the shorter one is chosen", "pair_accuracy"),
)


def preference_table(evaluation: Evaluation) -> Group:
    """One block of four parts; a part that was not measured is left out."""
    values = ("before", INTERVAL, "after", INTERVAL, "n")
    before_and_after = columns("held-out prompts".ljust(LABEL), *values, right=values)
    for line in (*_SIDES, *_of_judges(evaluation, _SCORES), *_forgotten(evaluation)):
        before, after = evaluation.find(BEFORE, line.metric), evaluation.find(AFTER, line.metric)
        if before is not None and after is not None:
            before_and_after.add_row(line.label, *line.cells(before), *line.cells(after), number(after.n))
    tables = [before_and_after]
    found = {row.metric: row for row in evaluation.results}
    for title, lines in (
        ("after minus before", _of_judges(evaluation, _GAINS)),
        ("after against before", _of_judges(evaluation, _WINS)),
        ("held-out pairs", _PAIRS),
    ):
        figures = ("value", INTERVAL, "n")
        table = columns(title.ljust(LABEL), *figures, right=figures)
        for line in lines:
            if (row := found.get(line.metric)) is not None:
                table.add_row(line.label, *line.cells(row), number(row.n))
        tables.append(table)
    page: list[RenderableType] = []
    for table in (table for table in tables if table.row_count):
        page += ["", table] if page else [table]
    for c in evaluation.comparisons:
        change = f"{points(c.difference)} points {interval(c.low, c.high)}"
        what = f"{_kind(c.of)}{', leniently' if c.lenient else ''}"
        page.append(plain(f"\n{what}, after − before: {change}, McNemar exact {p_words(c.p)}, n = {c.n:,}"))
    page += moved(evaluation)
    page += [plain(f"note: {note}", "yellow") for note in evaluation.notes]
    return Group(*page)


def _forgotten(evaluation: Evaluation) -> Iterator[_Line]:
    """The shares of every kind of tasks that was not trained."""
    measured = [row.metric.removesuffix(OF_EOS) for row in evaluation.results if row.metric.endswith(OF_EOS)]
    for name in dict.fromkeys([UNTRAINED, *measured]):
        for ending, share_of in RETAINED.items():
            yield _Line(f"{_kind(name)}: {share_of}", f"{name}{ending}")


def _kind(name: str) -> str:
    return "not trained" if name in ("", UNTRAINED) else f"not trained, {name.replace('_', ' ')}"


def _of_judges(evaluation: Evaluation, lines: tuple[_Line, ...]) -> tuple[_Line, ...]:
    """The lines for every judge, the pairs' first. Rows say in `judge` what kind it is."""
    kinds: dict[str, str] = {}
    for row in evaluation.results:
        if (kind := extra(row, "judge")) is not None:
            found = _JUDGE.match(row.metric)
            kinds.setdefault(found[0] if found else row.metric, str(kind))
    return tuple(
        line._replace(label=line.label.format(kind), metric=name + line.metric)
        for name, kind in kinds.items()
        for line in lines
    )
