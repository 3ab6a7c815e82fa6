"""What an answer is judged by: named criteria on one scale whose points are described. A data file, with a version.

It computes the score of an answer from its ratings and names itself by its content, so that a changed word makes
another judge. It refuses scales with gaps, points without a description and criteria of the same name; it does not
say how a judge is asked (`prompts.py`).

>>> rubric = load_rubric("helpfulness")
>>> rubric.low, rubric.high, rubric.names
(1, 5, ('helpfulness',))
>>> rubric.score({"helpfulness": 4})
4.0

The file of a rubric of one's own:

    name: tone
    version: 1
    criteria:
      - {name: calm, description: No exclamation marks, no superlatives.}
      - {name: polite, description: Greets and thanks where a person would., weight: 2}
    scale: {1: not at all, 2: in parts, 3: throughout}
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, StringConstraints, ValidationError, field_validator

from stillroom.common.hashing import digest
from stillroom.common.settings import Settings
from stillroom.errors import InputError, MissingFile

ENDINGS = (".yaml", ".yml")
HIGHEST = 10
# Names that a verdict uses for something else.
RESERVED = frozenset({"winner", "reasons"})
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
DEFAULT_SCALE: Mapping[int, str] = {
    1: "Fails: almost nothing of what is described is there.",
    2: "Poor: serious gaps or faults; a reader would have to start again.",
    3: "Fair: the main part is there, with faults that a reader notices.",
    4: "Good: only small faults, which change nothing that matters.",
    5: "Excellent: all of it is there, and a careful reader would change nothing.",
}


class Criterion(Settings):
    """One thing that is rated. `weight`: its share in the score, relative to the others'."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    description: Words
    weight: float = Field(default=1.0, gt=0, le=1000)

    @field_validator("name")
    @classmethod
    def _free(cls, name: str) -> str:
        if name in RESERVED:
            raise ValueError(f"a criterion cannot be called {name!r}: verdicts use that word; choose another")
        return name


class Rubric(Settings):
    """`scale`: the description of each point, whole numbers without gaps within 0..10. `reference`: whether a judge
    is shown the reference answer of a task: `never`, where there is one (`optional`), or it must be there
    (`required`). `instructions`: what else a judge should know, or empty."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,59}$")
    version: int = Field(ge=1)
    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1, max_length=20)]
    scale: dict[int, Words] = Field(default_factory=lambda: dict(DEFAULT_SCALE))
    reference: Literal["never", "optional", "required"] = "optional"
    instructions: str = ""

    @field_validator("criteria")
    @classmethod
    def _own_names(cls, criteria: tuple[Criterion, ...]) -> tuple[Criterion, ...]:
        names = [criterion.name for criterion in criteria]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two criteria are called {twice[0]!r}: ratings are joined by name")
        return criteria

    @field_validator("scale")
    @classmethod
    def _whole(cls, scale: dict[int, str]) -> dict[int, str]:
        points = sorted(scale)
        if len(points) < 2 or points != list(range(points[0], points[-1] + 1)):
            raise ValueError(f"the scale has the points {points}: give at least two whole numbers without a gap")
        if points[0] < 0 or points[-1] > HIGHEST:
            raise ValueError(f"the scale runs from {points[0]} to {points[-1]}: it must lie within 0..{HIGHEST}")
        return {point: scale[point] for point in points}

    @property
    def low(self) -> int:
        """The lowest point."""
        return min(self.scale)

    @property
    def high(self) -> int:
        """The highest point."""
        return max(self.scale)

    @property
    def names(self) -> tuple[str, ...]:
        """The criteria's names, in the order of the file."""
        return tuple(criterion.name for criterion in self.criteria)

    @property
    def identity(self) -> str:
        """Name, version and a hash of all content: a change that forgot the version still makes another rubric."""
        return f"{self.name}@{self.version}:{digest(self.model_dump(mode='json'), 12)}"

    def score(self, ratings: Mapping[str, float]) -> float:
        """The weighted mean of `ratings`, by criterion. Raises KeyError where one is missing."""
        total = sum(criterion.weight for criterion in self.criteria)
        return sum(criterion.weight * ratings[criterion.name] for criterion in self.criteria) / total


def shipped_rubrics() -> tuple[str, ...]:
    """Names of the rubrics that come with Stillroom."""
    folder = files("stillroom.judges") / "rubrics"
    return tuple(sorted(entry.name[: -len(".yaml")] for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def load_rubric(name: str, base: Path | None = None) -> Rubric:
    """The shipped rubric called `name`, or the one in the file `name`, looked for from `base`.

    Raises MissingFile where there is none, InputError for a file that is not a rubric.
    """
    if name in shipped_rubrics():
        text = (files("stillroom.judges") / "rubrics" / f"{name}.yaml").read_text(encoding="utf-8")
        return parse_rubric(text, f"the rubric {name!r}")
    path = (base or Path()) / name
    if not name.endswith(ENDINGS) or not path.is_file():
        known = ", ".join(shipped_rubrics())
        raise MissingFile(
            f"there is no rubric {name!r} (looked for {path}): shipped are {known}; or give a .yaml file"
        )
    try:
        return parse_rubric(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the rubric {path} cannot be read: {error}") from error


def parse_rubric(text: str, where: str) -> Rubric:
    """The rubric that YAML `text` holds. `where` names it in errors. Raises InputError."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{where} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise InputError(f"{where} holds {type(data).__name__}, expected name, version and criteria")
    try:
        return Rubric.model_validate(data)
    except ValidationError as error:
        wrong = ((".".join(str(part) for part in e["loc"] if part != "[key]"), e["msg"]) for e in error.errors())
        raise InputError(f"{where}: {'; '.join(f'{key}: {what}' for key, what in wrong)}") from None
