"""Traces as answers with labels, for methods that learn from both kinds: accepted, and wrong in the right form.

    for found in labelled(outcomes, read_sft(run / "sft"), screen, per_task=4):
        ...                                        # an AnswerRow, or a LeftOutAnswer with its reason

Desirable are the SFT rows: accepted attempts that passed the filters. Undesirable are attempts that the scorer
rejected, that ended by themselves, and that the filters would have let through; so what sets the kinds apart is what
the scorer looks at, not the form. What could not be scored is never either.

Of each task the first `per_task` of each kind become rows, in the order of draws.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator

from stillroom.common.files import storable
from stillroom.common.labelled_rows import AnswerRow, LeftOutAnswer
from stillroom.common.records import Outcome, State
from stillroom.traces.filters import Screen
from stillroom.traces.rows import SftRow, sft_row
from stillroom.traces.trace import Trace, traces_in

OVER_LIMIT, CUT_OFF, EMPTY = "over_limit", "cut_off", "empty"


def labelled(
    outcomes: Iterable[Outcome],
    accepted: Iterable[SftRow],
    screen: Screen,
    *,
    per_task: int | None,
    system: str | None = None,
) -> Iterator[AnswerRow | LeftOutAnswer]:
    """The desirable answers, then the undesirable ones, each by task, then by draw; and what became no row.

    `screen`: filters that have seen nothing yet. `system`: as for `sft_row`, which made `accepted`.
    """
    most, of_task = sys.maxsize if per_task is None else per_task, Counter[str]()
    for row in accepted:
        task_id, index = row["task_id"], row["index"]
        of_task[task_id] += 1
        if of_task[task_id] <= most:
            yield _answer(row, label=True)
        else:
            yield LeftOutAnswer(task_id, index, True, None, OVER_LIMIT)
    for outcome in outcomes:
        count = 0
        for trace in traces_in(outcome):
            if trace.verdict.state is not State.REJECTED:
                continue
            reason, detail = _unfit(trace, screen)
            if not reason and count >= most:
                reason = OVER_LIMIT
            if reason:
                yield LeftOutAnswer(storable(trace.task.id), trace.attempt.index, False, None, reason, detail)
                continue
            count += 1
            yield _answer(sft_row(trace, system=system), label=False)


def _unfit(trace: Trace, screen: Screen) -> tuple[str, str]:
    """Why a rejected attempt does not become a row, and what a person wants to see; empty for one that does."""
    if trace.attempt.finish_reason != "stop":
        return CUT_OFF, trace.attempt.finish_reason
    if not trace.answer.strip():
        return EMPTY, ""
    reject = screen.look(trace)
    return ("", "") if reject is None else (reject.filter, storable(reject.detail))


def _answer(row: SftRow, *, label: bool) -> AnswerRow:
    return {
        "prompt": row["prompt"],
        "completion": row["completion"],
        "label": label,
        "task_id": row["task_id"],
        "index": row["index"],
        "source": None,
    }
