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
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.common.formatting import NOTHING, interval, number, share
from stillroom.common.printing import Terminal, columns
from stillroom.common.records import Outcome
from stillroom.common.stats.intervals import Interval, wilson
from stillroom.errors import RunFolderError
from stillroom.pipeline.run.folder import RunFolder
from stillroom.traces.filters.agreement import said_by, votes_of
from stillroom.traces.rows import CardTable, SftRow
from stillroom.traces.scorers.label import LabelScorerSettings
from stillroom.traces.trace import traces_in

FILE, LINES = LABEL_FILES = "labels.json", "labels.jsonl"


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

    @property
    def _with_gold(self) -> bool:
        return any(each.gold is not None for each in self.balance.values())

    def tables(self) -> tuple[CardTable, CardTable]:
        """The balance of labels and the agreement of draws, for the data card and the screen."""
        draws, rows = (sum(getattr(each, of) for each in self.balance.values()) for of in ("draws", "rows"))
        gold = ("gold",) if self._with_gold else ()
        balance = [
            (
                label,
                *(number(each.draws), _of(each.draws, draws), number(each.rows), _of(each.rows, rows)),
                *((number(each.gold or 0),) if gold else ()),
            )
            for label, each in self.balance.items()
        ]
        right = ("vote right", "95 % interval") if self._with_gold else ()
        agreement = []
        for found in self.confidence:
            measured = (NOTHING, NOTHING)
            if found.right is not None:
                measured = (share(found.right.value), interval(found.right.low, found.right.high))
            cells = (share(found.agreement, 0), number(found.tasks), number(found.rows))
            agreement.append((*cells, *(measured if right else ())))
        return (
            CardTable("Labels", ("label", "draws", "of draws", "rows", "of rows", *gold), balance, self.unread),
            CardTable("Agreement of a task's draws", ("draws agree", "tasks", "with rows", *right), agreement),
        )

    @property
    def unread(self) -> str:
        """What gave no label, in words."""
        return f"{self.unlabelled:,} draws without one label, {self.silent:,} tasks without any"

    def show(self, console: Terminal) -> None:
        """Prints the balance of labels and the agreement of draws."""
        for each in self.tables():
            shown = columns(*each.head, right=each.head[1:])
            for row in each.rows:
                shown.add_row(*row)
            console.print(shown)
            if each.note:
                console.print(each.note)
            console.print()


def read_labels(folder: Path) -> LabelReport | None:
    """The report that a run has written; None where it has written none. Raises RunFolderError where it cannot be
    read."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        confidence = [
            Confidence(**{**each, "right": None if each["right"] is None else Interval(**each["right"])})
            for each in found["confidence"]
        ]
        balance = {label: Balance(**each) for label, each in found["balance"].items()}
        return LabelReport(balance, tuple(confidence), *(found[name] for name in ("unlabelled", "silent", "tied")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunFolderError(
            f"{folder / FILE} is not what a run writes ({type(error).__name__}): delete it, or run the recipe again"
        ) from None


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
