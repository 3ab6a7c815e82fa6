"""`kind: label`: the answer has to be one label of a closed list.

    scorer: {kind: label, labels: [positive, negative, neutral], aliases: {pos: positive}}

With gold (`tasks.reference`), the label is compared with it. Without, every answer that gives exactly one label is
accepted. Whatever gives no label, or more than one, is unscored: it says nothing about the label it could have given.
How a label is read: see `traces/labels.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from stillroom.common.records import Attempt, State, Task, Verdict
from stillroom.sampling.scorers.base import Place, ScorerBase, scorers
from stillroom.traces.labels import Labels, Reason
from stillroom.traces.trace import asked


class LabelScorer:
    """Scores attempts by the label they give."""

    def __init__(self, labels: Labels) -> None:
        self._labels, self.identity = labels, labels.identity

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        """The verdict on the label that the answer gives; the reasoning is not read."""
        gold = None
        if task.reference is not None and (gold := self._labels.read(task.reference)) is None:
            return _unscored(Reason.UNPARSED_GOLD, f"{task.reference!r:.100} is not one of the labels")
        if attempt.finish_reason == "length":
            return _unscored(Reason.TRUNCATED, "cut off by its length limit")
        if attempt.finish_reason == "content_filter":
            return _unscored(Reason.NO_ANSWER, "withheld by the server's content filter")
        found = self._labels.find(attempt.text, asked(task.messages))
        if found.label is None:
            return _unscored(found.reason or Reason.NO_LABEL, found.detail)
        if gold is None:
            return Verdict(State.ACCEPTED, Reason.LABELLED, detail=found.label)
        if found.label == gold:
            return Verdict(State.ACCEPTED, Reason.EQUAL, detail=found.label)
        return Verdict(State.REJECTED, Reason.DIFFERENT, detail=found.label)

    async def close(self) -> None:
        """Nothing to free."""


def _unscored(reason: Reason, detail: str) -> Verdict:
    return Verdict(State.UNSCORED, reason, detail=detail)


@scorers.register
class LabelScorerSettings(ScorerBase):
    """One label of a closed list."""

    kind: Literal["label"]
    labels: tuple[str, ...] = Field(min_length=2)
    """The labels, two at least."""
    case: Literal["ignore", "exact"] = "ignore"
    """Whether upper and lower case are told apart."""
    aliases: dict[str, str] = Field(default_factory=dict)
    """Other spellings, each with the label that it means."""

    @field_validator("labels", mode="before", json_schema_input_type=tuple[str | int, ...])
    @classmethod
    def _as_text(cls, labels: Any) -> Any:
        if not isinstance(labels, list | tuple):
            return labels
        if any(isinstance(label, bool) for label in labels):
            raise ValueError("labels holds true or false: put yes, no, true, false, on and off in quotes")
        return tuple(str(label) if isinstance(label, int) else label for label in labels)

    @model_validator(mode="after")
    def _tells_apart(self) -> LabelScorerSettings:
        for spelling in (*self.labels, *self.aliases):
            if not spelling.strip() or "\n" in spelling or spelling != spelling.strip():
                raise ValueError(f"{spelling!r} cannot be a label: give one line of text without spaces around it")
        for alias, label in self.aliases.items():
            if label not in self.labels:
                raise ValueError(
                    f"aliases.{alias} is {label!r}, which is not one of labels: {', '.join(self.labels)}"
                )
        reader, seen = self._reader(), set[str]()
        for label in self.labels:
            # A label that is read as another one (the same word in capitals, say) could never be told from it.
            if reader.read(label) != label or label in seen:
                raise ValueError(f"labels holds {label!r} twice, or once more in other letters or as an alias")
            seen.add(label)
        for alias, label in self.aliases.items():
            if reader.read(alias) != label:
                raise ValueError(f"aliases.{alias} is also another label or alias: each spelling means one label")
        return self

    def identity(self, base: Path) -> str:
        """As `ScorerBase.identity`."""
        return self._reader().identity

    def make(self, place: Place) -> LabelScorer:
        """As `ScorerBase.make`."""
        return LabelScorer(self._reader())

    def _reader(self) -> Labels:
        return Labels(self.labels, ignore_case=self.case == "ignore", aliases=self.aliases)
