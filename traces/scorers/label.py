r"""`kind: label`: the answer has to be one label of a closed list, read strictly: one final label, or none.

    scorer: {kind: label, labels: [positive, negative, neutral], aliases: {pos: positive}}

With gold (`tasks.reference`), the label is compared with it. Without, every answer that gives exactly one label is
accepted. `gold: measure` accepts in the same way where there is gold, and compares held-out answers only: the labels
of a teacher are distilled as they are, and what that is worth is known all the same.

Whatever gives no label, or more than one, is unscored: it says nothing about the label it could have given.

A label is final where it is the whole text, the whole of what a marker announces (`Answer: positive`, `label: x`,
`#### x`, `\boxed{x}`), or the whole last line. Emphasis, quotes and one full stop around it do not matter. A label
that is part of another word or of a sentence, that is negated, or that is followed by another one is not final:
the reason says which. Letters are compared as they are, so that a lookalike from another alphabet is not a label.

>>> labels = Labels(("positive", "negative"), aliases={"pos": "positive"})
>>> labels.find("It praises the film.\nAnswer: **Positive**.").label
'positive'
>>> labels.find("positive or negative").reason
<Reason.HEDGED: 'hedged'>
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from stillroom.common.hashing import digest
from stillroom.common.records import Attempt, State, Task, Verdict, asked
from stillroom.sampling.scorers.base import Place, ScorerBase, scorers
from stillroom.traces.answers.extract import marked_answers, spoken

VERSION = 1
"""Part of the identity: raise it when the same text is read differently."""

SHOWN = 100
"""Characters of a final answer that are told where it is not a label."""

ECHO = 40
"""A prompt of fewer characters than this may stand in an answer by chance; a longer one was repeated."""


class Reason(StrEnum):
    """Why a verdict on a label is what it is. Only `different` is a rejection."""

    EQUAL = "equal"
    DIFFERENT = "different"
    LABELLED = "labelled"
    """One final label, and the task has no gold to compare it with."""
    NO_ANSWER = "no_answer"
    """The text is empty, was withheld, or only repeats the prompt."""
    NO_LABEL = "no_label"
    """The final answer names no label at all."""
    MENTIONED = "mentioned"
    """A label stands in a sentence or a longer answer, not by itself."""
    NEGATED = "negated"
    """The final answer says which label it is not."""
    HEDGED = "hedged"
    """The final answer names several labels, or another one is named after it."""
    TWO_LABELS = "two_labels"
    """Two different labels are given as final answers."""
    UNPARSED_GOLD = "unparsed_gold"
    """The gold is not one of the labels: nothing is ever accepted against it."""
    TRUNCATED = "truncated"
    """The attempt was cut off by its length limit."""


class Found(NamedTuple):
    """What was read: a label, or why there is none with the text in question."""

    label: str | None
    reason: Reason | None = None
    detail: str = ""


_LABEL_MARKER = re.compile(r"(?im)^[ \t>*_#-]*(?:final[ \t]+)?label[ \t*_]{0,6}(?::|\bis\b)[ \t*_]*")
_WRAPPED = re.compile(r"\\(?:f?boxed|text|textbf|textit|mathrm|mathbf|mathit|textsf)\s*\{(.*)\}")
_NEGATION = re.compile(r"(?i)\b(?:not|never|neither|nor|no|isn['’]?t|cannot|can['’]?t|without)\b")
_AROUND = "*_`\"'“”‘’$ \t\r\n\u00a0"
_UNWRAPPINGS = 4  # emphasis in a \text in a box; whatever is wrapped more deeply is not a plain label


class Labels:
    """The labels of a closed list. `aliases`: other spellings with the label that each one means."""

    def __init__(
        self, labels: Sequence[str], *, ignore_case: bool = True, aliases: Mapping[str, str] | None = None
    ) -> None:
        self._labels, self._ignore_case = tuple(labels), ignore_case
        self._aliases = dict(aliases or {})
        spellings = {**{label: label for label in labels}, **self._aliases}
        self._known = {self._key(spelling): label for spelling, label in spellings.items()}
        # The longest first: "very positive" names one label, not "positive".
        longest = sorted(self._known, key=len, reverse=True)
        self._named = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest))})(?![\w-])")

    @property
    def identity(self) -> str:
        """The version, and all that decides which label a text gives."""
        return (
            f"label-{VERSION}:{digest([sorted(self._labels), self._ignore_case, sorted(self._aliases.items())], 12)}"
        )

    def read(self, text: str) -> str | None:
        """The label that a text is, and nothing else; None where it is not exactly one."""
        for _ in range(_UNWRAPPINGS):
            label = self._known.get(self._key(text))
            if label is not None:
                return label
            inner = text.strip(_AROUND)
            wrapped = _WRAPPED.fullmatch(inner)
            inner = wrapped.group(1) if wrapped else inner
            inner = inner if inner != text or inner.endswith("..") else inner.removesuffix(".")
            if inner == text:
                return None
            text = inner
        return self._known.get(self._key(text))

    def find(self, text: str, prompt: str = "") -> Found:
        """The final label of a completion, which may have repeated its prompt first."""
        text = spoken(text)
        if len(prompt.strip()) >= ECHO:
            text = text.replace(prompt.strip(), "\n")
        if not text.strip():
            return Found(None, Reason.NO_ANSWER, "nothing follows the thinking part or the repeated prompt")
        # What the text gives as its answer, and where it can first have said so.
        claims = [(box.end, box.text) for box in marked_answers(text, _LABEL_MARKER)]
        last = text.rstrip().rpartition("\n")[2]
        if self.read(last) is not None:
            claims.append((len(text.rstrip()) - len(last), last))
        if not claims:
            return self._unclear(text.strip())
        claims.sort(key=lambda claim: claim[0])
        read = [self.read(said) for _, said in claims]
        end, said = claims[-1]
        given = sorted({label for label in read if label is not None})
        if len(given) > 1:
            return Found(None, Reason.TWO_LABELS, f"given as final answers: {', '.join(given)}")
        if read[-1] is None:
            return self._unclear(said)
        others = self._names(text[end:]) - set(given)
        if others:
            return Found(None, Reason.HEDGED, f"{given[0]}, but then named: {', '.join(sorted(others))}")
        return Found(given[0])

    def _unclear(self, said: str) -> Found:
        """Why a final answer that is not exactly a label gives none."""
        shown = " ".join(said.split())[:SHOWN]
        names = self._names(said)
        if not names:
            return Found(None, Reason.NO_LABEL, shown)
        if len(names) > 1:
            return Found(None, Reason.HEDGED, shown)
        return Found(None, Reason.NEGATED if _NEGATION.search(said) else Reason.MENTIONED, shown)

    def _names(self, text: str) -> set[str]:
        return {self._known[match.group()] for match in self._named.finditer(self._key(text))}

    def _key(self, text: str) -> str:
        """How spellings are compared: composed, never by compatibility, which would fold lookalikes together."""
        text = unicodedata.normalize("NFC", text)
        return unicodedata.normalize("NFC", text.casefold()) if self._ignore_case else text


class LabelScorer:
    """Scores attempts by the label they give."""

    def __init__(self, labels: Labels, *, gold: bool = True) -> None:
        self._labels, self._gold = labels, gold
        self.identity = labels.identity if gold else f"{labels.identity}:any"

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        """The verdict on the label that the answer gives; the reasoning is not read."""
        gold = None
        if self._gold and task.reference is not None and (gold := self._labels.read(task.reference)) is None:
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
    gold: Literal["require", "measure"] = "require"
    """Whether a gold label must be met by what is learned from, or only measures: then any one label is accepted, and
    held-out answers alone are compared with gold."""

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
        reader, seen = self.reader(), set[str]()
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
        return self.make(Place(None, base)).identity

    def make(self, place: Place) -> LabelScorer:
        return LabelScorer(self.reader(), gold=self.gold == "require")

    def measuring(self) -> LabelScorerSettings:
        return self.model_copy(update={"gold": "require"})

    def reader(self) -> Labels:
        """What reads a label in a text."""
        return Labels(self.labels, ignore_case=self.case == "ignore", aliases=self.aliases)
