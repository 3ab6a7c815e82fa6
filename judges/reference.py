"""A judge that compares an answer with the task's reference: chrF, the overlap of runs of characters.

chrF (Popović 2015, aclanthology.org/W15-3049) is the F-score of the character n-grams, n = 1 to 6, spaces left out,
that answer and reference share; precision and recall are averaged over n first. β is 2, as tools that report it have
it (recall counts more), and the scale 0 to 100.

    judge = ReferenceJudge()
    rating = await judge.rate(task, attempt)      # task.reference holds what a person wrote

For evaluation, next to a judge of style: it shares no rule with it, and sees whether answers keep to what was asked
or drift away. Where many answers are right (most writing) the score is low for all, and only its change over many
tasks says anything. A task without a reference gets no judgement, which counts as `refused`, never as a score.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

from stillroom.common.records import Attempt, Task
from stillroom.common.text import MAX_CHARS
from stillroom.judges.records import JudgeState, Rating
from stillroom.judges.registry import JudgeBase, Made, Place, judges

VERSION = 1
SCALE = (0.0, 100.0)
ORDERS = range(1, 7)
BETA = 2.0


class ReferenceJudge:
    """Rates by chrF against the task's reference, 0 to 100; a `PointwiseJudge` without a model."""

    identity = f"reference:chrf:{VERSION}"
    scale = SCALE

    async def rate(self, task: Task, answer: Attempt) -> Rating:
        """The rating, without a request."""
        if not (task.reference or "").strip():
            return Rating(JudgeState.REFUSED, None, calls=0, detail=f"task {task.id} has no reference answer")
        return Rating(JudgeState.OK, chrf(answer.text, task.reference or ""), calls=0)

    async def close(self) -> None:
        """Has nothing to free."""


@judges.register
class ReferenceJudgeSettings(JudgeBase):
    """Overlap with the task's reference answer (chrF), without a model."""

    kind: Literal["reference"]

    def make(self, place: Place) -> Made:
        return Made(ReferenceJudge(), None)


def chrf(text: str, reference: str) -> float:
    """chrF of a text against a reference, 0 to 100; orders that both are too short for are left out."""
    text, reference = ("".join(part[:MAX_CHARS].split()) for part in (text, reference))
    precisions, recalls = [], []
    for n in ORDERS:
        found, wanted = _grams(text, n), _grams(reference, n)
        if not found or not wanted:
            continue
        shared = (found & wanted).total()
        precisions.append(shared / found.total())
        recalls.append(shared / wanted.total())
    if not precisions:
        return 0.0
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    below = BETA**2 * precision + recall
    return 100 * (1 + BETA**2) * precision * recall / below if below else 0.0


def _grams(text: str, n: int) -> Counter[str]:
    return Counter(text[i : i + n] for i in range(len(text) - n + 1))
