r"""Reads one label of a closed list in a completion, as strictly as an answer: one final label, or none.

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
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from stillroom.common.hashing import digest
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


class _Claim(NamedTuple):
    """What a text gives as its answer. `end`: where it can first have said so."""

    text: str
    end: int


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

    def find(self, text: str, asked: str = "") -> Found:
        """The final label of a completion. `asked`: the prompt, which the completion may have repeated first."""
        text = spoken(text)
        if len(asked.strip()) >= ECHO:
            text = text.replace(asked.strip(), "\n")
        if not text.strip():
            return Found(None, Reason.NO_ANSWER, "nothing follows the thinking part or the repeated prompt")
        claims = sorted(self._claims(text), key=lambda claim: claim.end)
        if not claims:
            return self._unclear(text.strip())
        read = [self.read(claim.text) for claim in claims]
        given = sorted({label for label in read if label is not None})
        if len(given) > 1:
            return Found(None, Reason.TWO_LABELS, f"given as final answers: {', '.join(given)}")
        if read[-1] is None:
            return self._unclear(claims[-1].text)
        others = self._names(text[claims[-1].end :]) - set(given)
        if others:
            return Found(None, Reason.HEDGED, f"{given[0]}, but then named: {', '.join(sorted(others))}")
        return Found(given[0])

    def _claims(self, text: str) -> Iterator[_Claim]:
        for box in marked_answers(text, _LABEL_MARKER):
            yield _Claim(box.text, box.end)
        last = text.rstrip().rpartition("\n")[2]
        if self.read(last) is not None:
            yield _Claim(last, len(text.rstrip()) - len(last))

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
