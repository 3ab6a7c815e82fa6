"""The records of an evaluation and its file, `eval.json`.

    {"results":     [{"who": "student_after", "metric": "accuracy",
                      "value": 0.53, "low": 0.43, "high": 0.62, "n": 100, ...}],
     "comparisons": [{"a": "student_after", "b": "student_before", "test": "mcnemar_exact",
                      "difference": 0.5, "low": 0.39, "high": 0.6, "p": 1e-12, ...}]}

Keys may be added; none of these is ever renamed or left out. `low` and `high` are 95 % limits. Refuses to write NaN
and infinity.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stillroom.common.files import replaced
from stillroom.common.secrets import named_in
from stillroom.common.stats.intervals import Interval
from stillroom.errors import InputError, MissingFile

ACCURACY = "accuracy"
SHARE_STOPPED = "share_stopped"
MEAN_TOKENS = "mean_completion_tokens"
KL_TO_BASE, KL_TO_TEACHER, KL_TO_TEACHER_RATIO = "kl_to_base", "kl_to_teacher", "kl_to_teacher_ratio"
PERPLEXITY, PERPLEXITY_RATIO = "perplexity", "perplexity_ratio"
OF_UNTRAINED = f"_{ACCURACY}"
"""Ends the metrics of tasks that were not trained: `letters_accuracy`."""
OF_LENIENT, OF_READABLE, OF_EOS = "_lenient", "_readable", "_eos_rate"
"""End what else is measured of these tasks: right when read leniently (`evaluation/lenient.py`), readable for the
scorer, ended by itself."""
RETAINED = {OF_UNTRAINED: "right", OF_LENIENT: "lenient", OF_READABLE: "readable", OF_EOS: "EOS"}
"""The four, in the order in which they are shown, and in words."""

BEFORE, AFTER, TEACHER = "student_before", "student_after", "teacher"
VARIANT = "student_"
"""Starts the name of a variant of the student: `student_hard`."""
ROUND = "round_"
"""Starts the name of the student of a round: `round_1`."""

ALPHA = 0.05
"""p below it, after Holm, is called a difference."""
Word = Literal["better", "worse", "no clear difference"]
COLOURS: dict[Word, str] = {"better": "green", "worse": "red", "no clear difference": "dim"}
"""Of each word, in a terminal."""


def word_for(low: float, high: float, nothing: float = 0.0, *, less_is_better: bool = False) -> Word:
    """What an interval says: whether it lies on one side of `nothing`, and on which."""
    if low <= nothing <= high:
        return "no clear difference"
    return "better" if (low > nothing) is not less_is_better else "worse"


def number_of(who: str) -> int | None:
    """The number of a round's student; 0 for the model before any, None for others."""
    if who == BEFORE:
        return 0
    digits = who.removeprefix(ROUND)
    return int(digits) if who.startswith(ROUND) and digits.isascii() and digits.isdecimal() else None


class Result(BaseModel):
    """One measured number of one model.

    `value`, `low`, `high`: a share in [0, 1] for `accuracy` and `share_stopped`, tokens for
    `mean_completion_tokens`. `n`: tasks it rests on. `counts`: how the attempts were scored (accuracy only):
    `accepted`, `rejected`, `unscored`, and `missing` for tasks that got no attempt, which are not in n; of the other
    shares of what was not trained `yes` and `no`.
    `unscored`: the unscored by reason.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    who: str
    metric: str
    value: float
    low: float
    high: float
    n: int = Field(ge=1)
    counts: dict[str, int] | None = None
    unscored: dict[str, int] | None = None


def result_of(who: str, metric: str, found: Interval, **more: object) -> Result:
    """A measured interval as a row of `eval.json`; `more`: further keys of the row."""
    return Result.model_validate({"who": who, "metric": metric, **found._asdict(), **more})


class Comparison(BaseModel):
    """Two models on the tasks that both have an attempt for: `difference` is the accuracy of a minus that of b.

    `low`, `high`: Newcombe's method 10 at 95 %. `p`: two-sided, of the named test, not corrected for the number
    of comparisons. `only_a`: tasks right for a alone. `left_out`: tasks that one of the two has no attempt for.
    `detectable`: the smallest difference that these tasks detect with 80 % power (MDE), None where it is not known.
    `metric`: of what, None for the accuracy on the held-out tasks. `p_holm`: p corrected for all comparisons that are
    shown together, None where nobody corrected it.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    a: str
    b: str
    test: str
    difference: float
    low: float
    high: float
    p: float = Field(ge=0, le=1)
    n: int = Field(ge=1)
    both: int = 0
    only_a: int = 0
    only_b: int = 0
    neither: int = 0
    left_out: int = 0
    detectable: float | None = None
    metric: str | None = None
    p_holm: float | None = None

    @property
    def corrected_p(self) -> float:
        """After Holm; as it is where nobody corrected it."""
        return self.p if self.p_holm is None else self.p_holm

    @property
    def of(self) -> str:
        """What was not trained, where it is of that: `letters`."""
        if self.metric in (None, ACCURACY):
            return ""
        return str(self.metric).removesuffix(OF_LENIENT if self.lenient else OF_UNTRAINED)

    @property
    def lenient(self) -> bool:
        """Whether it compares answers that were read leniently."""
        return str(self.metric).endswith(OF_LENIENT)

    @property
    def verdict(self) -> Word:
        """Of a against b: what the interval says, where p confirms it."""
        return word_for(self.low, self.high) if self.corrected_p < ALPHA else "no clear difference"


class Evaluation(BaseModel):
    """Everything measured, in the order in which it is shown. `notes`: what a reader must know, in plain words."""

    model_config = ConfigDict(extra="allow", frozen=True)

    results: tuple[Result, ...]
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Evaluation of {', '.join(self.whos)}: {len(self.results)} results"

    def find(self, who: str, metric: str = ACCURACY) -> Result | None:
        """The row of one model and metric, or None if it was not measured."""
        return next((row for row in self.results if (row.who, row.metric) == (who, metric)), None)

    @property
    def whos(self) -> tuple[str, ...]:
        """The models, each once, in order."""
        return tuple(dict.fromkeys(row.who for row in self.results))


def extra(row: Result, key: str) -> Any:
    """What stands in a row beyond the fields that every row has, or None."""
    return (row.model_extra or {}).get(key)


def write_eval(evaluation: Evaluation, path: Path) -> None:
    """Writes `eval.json`, whole or not at all. Raises RunError where the disk refuses."""
    text = json.dumps(named_in(evaluation.model_dump(mode="json", exclude_none=True)), indent=2, allow_nan=False)
    with replaced(path) as file:
        file.write(f"{text}\n".encode())


def read_eval(path: Path) -> Evaluation:
    """Reads `eval.json`. Raises MissingFile, or InputError naming what does not fit."""
    try:
        return Evaluation.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingFile(f"{path} does not exist: `stillroom run` writes it at the end of a run") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not an evaluation: {error}") from error


class Measured(NamedTuple):
    """A part of an evaluation: rows, comparisons, and what a reader must know of them."""

    results: list[Result]
    comparisons: list[Comparison]
    notes: list[str]
