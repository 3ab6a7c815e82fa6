"""The settings of KTO's loss, and the weights of its two kinds of answers.

    class_weights(100, 300).ratio                      # 1.0: the desirable ones are counted three times

Both the training and the lint of rows read them, so they stand below either.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from stillroom.common.settings import Settings

LOWEST, HIGHEST = 1.0, 4 / 3
"""Between them lies (weight × rows) of the desirable answers over that of the undesirable: equation 8 of the paper,
with the bounds that trl checks as 1 and 1.33."""


class KtoSettings(Settings):
    """Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv:2402.01306) as trl has it."""

    beta: float = Field(default=0.1, gt=0)
    """Penalty for leaving the reference model."""
    loss_type: Literal["kto", "apo_zero_unpaired"] = "kto"
    """`kto`, or APO-zero on single answers (D'Oosterlinck et al. 2024, arXiv:2408.06266), which has no KL term."""
    desirable_weight: float | None = Field(default=None, gt=0)
    """Weight of the desirable answers; null: computed from how many there are of each."""
    undesirable_weight: float | None = Field(default=None, gt=0)
    """Weight of the undesirable answers; null: computed from how many there are of each."""
    precompute_ref: bool = True
    """Compute the reference's log-probabilities once before the first step, not in every epoch."""
    per_task: Annotated[int, Field(ge=1)] | None = 4
    """Answers of each kind that one task of a run gives at most, the first in draw order; null: all."""


class ClassWeights(NamedTuple):
    """What the losses of desirable and undesirable answers are multiplied by. `ratio`: (weight × rows) of the first
    over that of the second."""

    desirable: float
    undesirable: float
    ratio: float

    @property
    def fit(self) -> bool:
        """Whether the ratio is one that the paper recommends."""
        return LOWEST - 1e-9 <= self.ratio <= HIGHEST + 1e-9


def class_weights(
    desirable: int, undesirable: int, *, given: float | None = None, given_undesirable: float | None = None
) -> ClassWeights:
    """Weights for the rows that there are of each kind. What is given stays. What is not is 1, or where the ratio
    would not lie between LOWEST and HIGHEST, the kind that counts too little is weighted up to the nearer of them.

    >>> class_weights(100, 300)
    ClassWeights(desirable=3.0, undesirable=1.0, ratio=1.0)
    """
    more, less = given or 1.0, given_undesirable or 1.0
    ratio = more * desirable / (less * undesirable)
    wanted = min(max(ratio, LOWEST), HIGHEST)
    if wanted != ratio:
        # The weight that is not given moves; of two, the one that goes up.
        first_moves = ratio < wanted if (given is None) == (given_undesirable is None) else given is None
        if given is None and first_moves:
            more = wanted * less * undesirable / desirable
        elif given_undesirable is None and not first_moves:
            less = more * desirable / (wanted * undesirable)
    return ClassWeights(more, less, more * desirable / (less * undesirable))
