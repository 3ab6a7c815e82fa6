"""What a run of labels came to: how often each label is in the draws and in the rows, and how far the draws of a task
agree, as a confidence.

    report = label_report(outcomes, rows)        # recipes with scorer: {kind: label}
    report.balance["billing"].rows
    report.confidence[0].right                   # where the tasks have gold labels: how often the vote is right

Written to `labels.json`, and for every task a line in `labels.jsonl`: its votes, what most say, its agreement, and
how many rows it gave. Gold labels are looked at here only to say how far the agreement can be trusted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from stillroom.common.formatting import NOTHING, interval, number, share
from stillroom.common.printing import Terminal, columns
from stillroom.common.records import Outcome
from stillroom.common.stats.intervals import Interval, wilson
from stillroom.pipeline.run.folder import RunFolder
from stillroom.traces.filters.agreement import said_by, votes_of
from stillroom.traces.rows import SftRow
from stillroom.traces.scorers.label import LabelScorerSettings
from stillroom.traces.trace import traces_in

FILE, LINES = "labels.json", "labels.jsonl"


class Balance(NamedTuple):
    """How often a label was given: in draws, and in rows. `gold`: tasks whose gold label it is; None without gold."""

    draws: int
    rows: int
    gold: int | None


class Confidence(NamedTuple):
    """Tasks with the same agreement: the share of their votes that most of them share. `rows`: tasks of them that
    gave rows. `right`: the share whose vote is the gold label, with its interval; None without gold."""

    agreement: float
    tasks: int
    rows: int
    right: Interval | None


@dataclass(frozen=True, slots=True)
class LabelReport:
    """Labels of a run. `unlabelled`: draws that gave no label, or more than one; `silent`: tasks without any label.
    `tied`: tasks in which two labels have most votes."""

    balance: dict[str, Balance]
    confidence: tuple[Confidence, ...]
    unlabelled: int
    silent: int
    tied: int

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        confidence = [
            c._asdict() | {"right": None if c.right is None else c.right._asdict()} for c in self.confidence
        ]
        balance = {label: each._asdict() for label, each in self.balance.items()}
        return asdict(self) | {"balance": balance, "confidence": confidence}

    def show(self, console: Terminal) -> None:
        """Prints the balance of labels and the agreement of draws."""
        draws, rows = (sum(getattr(each, of) for each in self.balance.values()) for of in ("draws", "rows"))
        with_gold = any(each.gold is not None for each in self.balance.values())
        numbers = ("draws", "of draws", "rows", "of rows", *(("gold",) if with_gold else ()))
        table = columns("label", *numbers, right=numbers)
        for label, each in self.balance.items():
            shares = (number(each.draws), _of(each.draws, draws), number(each.rows), _of(each.rows, rows))
            table.add_row(label, *shares, *((number(each.gold or 0),) if with_gold else ()))
        console.print(table)
        console.print(f"{self.unlabelled:,} draws without one label, {self.silent:,} tasks without any")
        numbers = ("tasks", "with rows", *(("vote right", "95 % interval") if with_gold else ()))
        table = columns("draws agree", *numbers, right=numbers)
        for found in self.confidence:
            right = (
                () if found.right is None else (share(found.right.value), interval(found.right.low, found.right.high))
            )
            table.add_row(share(found.agreement, 0), number(found.tasks), number(found.rows), *right)
        console.print()
        console.print(table)
        console.print()


def _of(part: int, whole: int) -> str:
    return share(part / whole, 0) if whole else NOTHING


class _Task(NamedTuple):
    """One task. `right`: whether the vote is the gold label; None without gold or vote."""

    votes: Counter[str]
    label: str | None
    agreement: float | None
    tied: bool
    rows: int
    gold: str | None
    right: bool | None


def label_report(
    outcomes: Iterable[Outcome], rows: Sequence[SftRow], scorer: LabelScorerSettings, folder: RunFolder
) -> LabelReport:
    """Counts, and writes both files. `rows`: those that the outcomes gave."""
    row_of, reader = Counter((row["task_id"], row["index"]) for row in rows), scorer.reader()
    draws, in_rows, golds = Counter[str](), Counter[str](), Counter[str]()
    unlabelled, found = 0, list[_Task]()
    lines = list[str]()
    for outcome in outcomes:
        said = [(trace.attempt.index, said_by(trace, "label")) for trace in traces_in(outcome)]
        labels = [(index, label) for index, label in said if label is not None]
        unlabelled += len(said) - len(labels)
        draws.update(label for _, label in labels)
        mine = Counter({index: row_of[outcome.task.id, index] for index, _ in labels})
        for index, label in labels:
            in_rows[label] += mine[index]
        votes = votes_of([label for _, label in labels])
        reference = outcome.task.reference
        gold = None if reference is None else reader.read(reference)
        golds.update([] if gold is None else [gold])
        right = None if gold is None or votes.top is None else votes.top == gold
        task = _Task(
            Counter(label for _, label in labels), votes.top, votes.agreement, votes.tied, mine.total(), gold, right
        )
        found.append(task)
        lines.append(json.dumps({"task_id": outcome.task.id, **task._asdict()}, ensure_ascii=False))
    balance = {
        label: Balance(draws[label], in_rows[label], golds[label] if golds else None) for label in scorer.labels
    }
    voted = [task for task in found if task.agreement is not None]
    report = LabelReport(
        balance=balance,
        confidence=tuple(_confidence(voted)),
        unlabelled=unlabelled,
        silent=len(found) - len(voted),
        tied=sum(task.tied for task in voted),
    )
    folder.write(FILE, json.dumps(report.as_dict(), indent=2, ensure_ascii=False) + "\n")
    folder.write(LINES, "".join(f"{line}\n" for line in lines))
    return report


def _confidence(tasks: Sequence[_Task]) -> Iterable[Confidence]:
    """Tasks by their agreement, the highest first."""
    for agreement in sorted({task.agreement for task in tasks if task.agreement is not None}, reverse=True):
        same = [task for task in tasks if task.agreement == agreement]
        judged = [task.right for task in same if task.right is not None]
        right = wilson(sum(judged), len(judged)) if judged else None
        yield Confidence(agreement, len(same), sum(task.rows > 0 for task in same), right)
