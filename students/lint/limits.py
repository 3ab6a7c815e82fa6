"""Limits of the lint's warnings; what is broken is an error whatever they say.

lint_sft(rows, settings, limits=LintLimits(duplicates=0.2))
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stillroom.common.settings import Settings

Share = Annotated[float, Field(ge=0, le=1)]


class LintLimits(Settings):
    """`duplicates`: share of rows that repeat an earlier one, above which it is told. `same_answer_words`: words from
    which an answer that stands under another prompt counts as a repeat: short ones are rightly shared. `too_long`:
    share of rows left out for their length, above which that is an error. `off_policy`: share of pairs with no side
    of the student's own. `examples`: rows named in a finding. `shown`: rows whose mask is kept for looking at."""

    duplicates: Share = 0.05
    same_answer_words: int = Field(default=20, ge=1)
    too_long: Share = 0.5
    off_policy: Share = 0.5
    examples: int = Field(default=5, ge=1)
    shown: int = Field(default=3, ge=0)
