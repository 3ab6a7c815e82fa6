"""The records of an evaluation and its file, `eval.json`.

    {"results":     [{"who": "student_after", "metric": "accuracy",
                      "value": 0.53, "low": 0.43, "high": 0.62, "n": 100, ...}],
     "comparisons": [{"a": "student_after", "b": "student_before", "test": "mcnemar_exact",
                      "difference": 0.5, "low": 0.39, "high": 0.6, "p": 1e-12, ...}]}

Keys beyond these may be added; none of these is ever renamed or left out. Refuses to write what is not a
number (NaN, infinity): no reader of JSON need accept it. `low` and `high` are 95 % limits.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stillroom.errors import InputError, MissingFile
from stillroom.sampling.secrets import named_in
from stillroom.sampling.writing import replaced

CONFIDENCE = 0.95
ACCURACY = "accuracy"
SHARE_STOPPED = "share_stopped"
MEAN_TOKENS = "mean_completion_tokens"


class Result(BaseModel):
    """One measured number of one model.

    `value`, `low`, `high`: a share in [0, 1] for `accuracy` and `share_stopped`, tokens for
    `mean_completion_tokens`. `n`: tasks it rests on. `counts`: how the attempts were scored (accuracy only):
    `accepted`, `rejected`, `unscored`, and `missing` for tasks that got no attempt, which are not in n.
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


class Comparison(BaseModel):
    """Two models on the tasks that both have an attempt for: `difference` is the accuracy of a minus that of b.

    `low`, `high`: Newcombe's method 10 at 95 %. `p`: two-sided, of the named test, not corrected for the number
    of comparisons. `only_a`: tasks right for a alone. `left_out`: tasks that one of the two has no attempt for.
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


class Evaluation(BaseModel):
    """Everything measured, in the order in which it is shown. `notes`: what a reader must know, in plain words."""

    model_config = ConfigDict(extra="allow", frozen=True)

    results: tuple[Result, ...]
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()

    def find(self, who: str, metric: str = ACCURACY) -> Result | None:
        """The row of one model and metric, or None if it was not measured."""
        return next((row for row in self.results if (row.who, row.metric) == (who, metric)), None)

    @property
    def whos(self) -> tuple[str, ...]:
        """The models, each once, in order."""
        return tuple(dict.fromkeys(row.who for row in self.results))


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
        raise InputError(f"{path} is no evaluation: {error}") from error
