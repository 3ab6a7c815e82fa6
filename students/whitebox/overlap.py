"""How much of what teacher and student say is among what both find likely: measured before training on own answers.

    found = overlap(student, teacher, rows, at_once=8)
    found.student, found.teacher       # shares of each one's mass on the tokens that are among the top 16 of both

Distillation on the student's own answers works where both think alike: in runs that went well, 97 to 99 % of the mass
lay on common top tokens ("Rethinking OPD", arXiv:2604.13016). Where they have less in common, the
teacher's distribution after what the student said teaches little; the remedy there is a cold start, a training on the
teacher's own answers first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from stillroom.students.data.encode import EncodedRow
from stillroom.students.methods.cpu_passes import MOST_LOGITS
from stillroom.students.whitebox.divergence import log_softmax
from stillroom.students.whitebox.loss import Reader, padded

TOP = 16
HEALTHY = 0.97
"""Share of mass on common top tokens from which on no cold start is advised."""
ROWS = 64
"""Rows that are looked at, at most: hundreds of positions, so the shares are known to a percent."""


class Overlap(NamedTuple):
    """Means over `positions`. `student`, `teacher`: share of each one's probability on tokens that are among the
    `TOP` likeliest of both; `tokens`: share of these `TOP` that both have."""

    positions: int
    student: float
    teacher: float
    tokens: float

    @property
    def advises_cold_start(self) -> bool:
        """Whether teacher and student differ by more than in runs that go well."""
        return min(self.student, self.teacher) < HEALTHY

    def told(self) -> str:
        """In a line, for whoever is waiting."""
        line = (
            f"on the rows' answers {self.student:.1%} of the student's and {self.teacher:.1%} of the teacher's mass "
            f"is on tokens among the top {TOP} of both"
        )
        if not self.advises_cold_start:
            return line
        return (
            f"{line}: below {HEALTHY:.0%}, so learning from its own answers may do little yet; train on the "
            "teacher's answers first (on_policy: null), and go on from that student"
        )

    def record(self) -> dict[str, Any]:
        """As `training.json` has it."""
        shares = {name: round(getattr(self, name), 6) for name in ("student", "teacher", "tokens")}
        return {"positions": self.positions, "top": TOP, **shares, "cold_start_advised": self.advises_cold_start}


def overlap(student: Reader, teacher: Reader, rows: Sequence[EncodedRow], at_once: int) -> Overlap:
    """Of the first `ROWS` rows of the task, `at_once` in one pass, at the positions of their answers."""
    import torch

    sums, count = torch.zeros(3, dtype=torch.float64), 0
    device = student.head.device
    most = max(1, MOST_LOGITS // (2 * student.head.vocabulary))
    for start in range(0, min(len(rows), ROWS), at_once):
        at = list(range(start, min(start + at_once, len(rows), ROWS)))
        part = padded([rows[i] for i in at], at, device)
        sides = [reader.states("task", part).hidden for reader in (student, teacher)]
        for one, other in zip(*(side.split(most) for side in sides), strict=True):
            with torch.no_grad():
                sums += _shares(student.head.logits(one), teacher.head.logits(other)).cpu()
        count += len(sides[0])
    student_share, teacher_share, tokens = (sums / count).tolist()
    return Overlap(count, student_share, teacher_share, tokens)


def _shares(student: Any, teacher: Any) -> Any:
    """(3,): sums over the positions of logits (N, V), in the order of `Overlap`."""
    import torch

    q, p = log_softmax(student), log_softmax(teacher)
    top = min(TOP, q.shape[-1])
    likely_q, likely_p = (side.topk(top, -1).indices for side in (q, p))
    common = (likely_q[:, :, None] == likely_p[:, None, :]).any(-1)  # (N, TOP): of the student's, which both have
    found = [(side.gather(-1, likely_q).exp() * common).sum() for side in (q, p)]
    return torch.stack([*found, common.sum() / top]).double()
