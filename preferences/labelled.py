"""Pairs as answers with labels, for methods that learn from single answers: chosen ones true, rejected ones false.

    for found in labelled(pairs, per_task=4):
        ...                                        # an AnswerRow, or a LeftOutAnswer with its reason

An answer is one row, in however many pairs it stands. One that is chosen in a pair and rejected in another is
neither, and is left out. Of each task the first `per_task` of each kind become rows, in the order of pairs.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from stillroom.common.files import storable
from stillroom.common.labelled_rows import AnswerRow, LeftOutAnswer
from stillroom.preferences.records import Candidate, Pair
from stillroom.preferences.rows import dpo_row

BOTH_SIDES, OVER_LIMIT = "both_sides", "over_limit"


def labelled(pairs: Iterable[Pair], *, per_task: int | None) -> Iterator[AnswerRow | LeftOutAnswer]:
    """The answers of the pairs in their order, chosen before rejected; and what became no row."""
    found: dict[str, tuple[Candidate, AnswerRow]] = {}
    labels = defaultdict[str, set[bool]](set)
    for pair in pairs:
        row = dpo_row(pair)
        for side, label in (("chosen", True), ("rejected", False)):
            candidate = (pair.chosen if label else pair.rejected).candidate
            labels[candidate.id].add(label)
            if candidate.id not in found:
                found[candidate.id] = candidate, _answer(row["prompt"], row[side], candidate, label=label)
    most, of_task = sys.maxsize if per_task is None else per_task, Counter[tuple[str, bool]]()
    for name, (candidate, answer) in found.items():
        kind = candidate.task_id, answer["label"]
        both = len(labels[name]) == 2
        if both or of_task[kind] >= most:
            reason = BOTH_SIDES if both else OVER_LIMIT
            yield LeftOutAnswer(answer["task_id"], candidate.index, answer["label"], answer["source"], reason)
            continue
        of_task[kind] += 1
        yield answer


def _answer(
    prompt: list[dict[str, str]], completion: list[dict[str, str]], candidate: Candidate, *, label: bool
) -> AnswerRow:
    return {
        "prompt": prompt,
        "completion": completion,
        "label": label,
        "task_id": storable(candidate.task_id),
        "index": candidate.index,
        "source": storable(candidate.source),
    }
