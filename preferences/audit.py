"""The audit of a preference data set, before anything is trained on it.

    found = audit(split.train, settings, slates=slates, left_out=built.left_out, test=held_out, accuracy=interval)
    found.write(run / "audit.json")
    found.raise_if_refused()

What is broken refuses the data set (an empty or repeated side, sides of different prompts, a chosen side that is not
better, a failed judgement, a test prompt among the pairs, …); what is doubtful warns: each with how many, the limit,
examples, what happens when it is ignored and who has shown that, and what to do. It changes no pair.

`audit_rows` reads any preference data set, ours or not: `prompt`, `chosen`, `rejected` as conversations or bare
texts. What a data set does not tell (judge failures, say) is then not known, and its value None.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.common.files import replaced, storable
from stillroom.common.records import Messages
from stillroom.common.stats.intervals import Interval
from stillroom.errors import AuditFailed
from stillroom.preferences import checks
from stillroom.preferences.checks import Finding, Item, item_of, item_of_row, meanings
from stillroom.preferences.lengths import FailureReport, LengthReport, failures, report_of
from stillroom.preferences.records import LeftOut, Pair, Slate
from stillroom.preferences.settings import AuditSettings

if TYPE_CHECKING:
    from stillroom.common.printing import Table


@dataclass(frozen=True, slots=True)
class Audit:
    """What the audit found: one finding for each check, errors first. `lengths`: characters of both sides.
    `failures`: of the judge, by source and length."""

    pairs: int
    findings: tuple[Finding, ...]
    lengths: LengthReport
    failures: FailureReport

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What refuses the data set."""
        return tuple(found for found in self.findings if found.broken and found.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What exceeds a limit."""
        return tuple(found for found in self.findings if found.broken and found.severity == "warning")

    @property
    def refused(self) -> bool:
        """Whether nothing should be trained on these pairs."""
        return bool(self.errors)

    def raise_if_refused(self) -> None:
        """Raises AuditFailed that says what is broken and what to do."""
        if self.refused:
            said = []
            for found in self.errors:
                ids = f" (such as {', '.join(found.examples[:3])})" if found.examples else ""
                what = "there is none" if found.name == "no_pairs" else f"{found.count:,} {found.meaning.title}{ids}"
                said.append(f"{what}; {found.meaning.advice}")
            raise AuditFailed(f"the audit refuses these {self.pairs:,} pairs: {'; '.join(said)}")

    def as_dict(self) -> dict[str, Any]:
        return {
            "pairs": self.pairs,
            "refused": self.refused,
            "findings": [found.as_dict() for found in self.findings],
            "lengths": self.lengths.as_dict(),
            "failures": self.failures.as_dict(),
        }

    def write(self, path: Path) -> None:
        """Writes it as JSON, the same bytes for the same audit. Raises RunError where it cannot be written."""
        text = json.dumps(self.as_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        with replaced(path) as file:
            file.write(storable(text).encode() + b"\n")

    def table(self) -> Table:
        """For a terminal."""
        from stillroom.common.printing import columns, plain

        table = columns("", f"audit of {self.pairs:,} pairs")
        for found in self.findings:
            mark, colour = "ok", "green"
            if found.broken:
                mark, colour = ("refused", "red") if found.severity == "error" else ("warning", "yellow")
            how = ".2f" if found.name == "length_gap" else ".0%"
            limit = f"; limit {found.limit:{how}}" if found.limit else ""
            advice = f"\n{found.meaning.advice}" if found.broken else ""
            table.add_row(plain(mark, colour), f"{found.meaning.title}: {found.told}{limit}{advice}")
        return table


def audit(
    pairs: Sequence[Pair],
    settings: AuditSettings | None = None,
    *,
    slates: Iterable[Slate] = (),
    left_out: Iterable[LeftOut] = (),
    test: Sequence[Messages] = (),
    accuracy: Interval | None = None,
) -> Audit:
    """The audit of pairs that were built.

    `slates` and `left_out`: what they were built from, and what gave none. `test`: prompts that are held out for
    tests. `accuracy`: of the judge on pairs that people labelled, counted over those on which it decided, since a
    pair is only made where it does (`decided_accuracy` of a calibration); None where it was not calibrated.
    """
    slates = tuple(slates)
    tasks = {slate.task.id for slate in slates}
    ties = sum(left.reason == "tie" and left.what in tasks for left in left_out)
    items = [item_of(pair) for pair in pairs]
    return _audit(items, settings or AuditSettings(), slates, ties, test, accuracy)


def audit_rows(rows: Iterable[Mapping[str, Any]], *, test: Sequence[Messages] = ()) -> Audit:
    """The audit of a data set. Raises InputError for a row that is not a pair of texts or conversations."""
    items = [item_of_row(number, row) for number, row in enumerate(rows)]
    return _audit(items, AuditSettings(), (), 0, test, None)


def _audit(
    items: Sequence[Item],
    settings: AuditSettings,
    slates: Sequence[Slate],
    ties: int,
    test: Sequence[Messages],
    accuracy: Interval | None,
) -> Audit:
    lengths = report_of([(item.chosen, item.rejected) for item in items])
    failed = failures(slates)
    findings = [
        *checks.broken_pairs(items, settings),
        *checks.leaks(items, test, settings),
        *checks.doubtful_pairs(items, settings),
        *checks.judgements(failed, ties, len(slates), settings),
        *checks.lengths(lengths, settings),
        checks.label_noise(accuracy, len(items), settings),
    ]
    order = list(meanings())
    return Audit(len(items), tuple(sorted(findings, key=lambda found: order.index(found.name))), lengths, failed)
