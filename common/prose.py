"""Words and sentences of a text, as the judges that count them see it.

A word is a run of letters or digits, with apostrophes inside it; a sentence ends at `.`, `!` or `?` before a space,
and at the end of a line, so an item of a list is a sentence of its own. Every pattern reads a text once (no
backtracking that grows with it), and a text is looked at up to `MAX_CHARS`: what a model wrote may be hostile.

It does not know abbreviations ("Mr. Brown" ends a sentence after "Mr."), nor languages without spaces.

>>> prose("Keep it short. Don't pad!").sentences
(('keep', 'it', 'short'), ("don't", 'pad'))
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain

MAX_CHARS = 20_000
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]”’]*\s+|\n")


@dataclass(frozen=True, slots=True)
class Prose:
    """`text`: what was looked at, stripped. `sentences`: the words of each, in lower case; none is empty."""

    text: str
    sentences: tuple[tuple[str, ...], ...]

    @property
    def words(self) -> tuple[str, ...]:
        """All words in order."""
        return tuple(chain.from_iterable(self.sentences))


def prose(text: str) -> Prose:
    """Takes the first `MAX_CHARS` characters apart."""
    seen = text[:MAX_CHARS].replace("’", "'").strip()
    parts = (words(part) for part in _SENTENCE_END.split(seen))
    return Prose(seen, tuple(part for part in parts if part))


def words(text: str) -> tuple[str, ...]:
    """The words of a text in lower case."""
    return tuple(word.lower() for word in _WORD.findall(text))


def ramp(value: float, worst: float, best: float) -> float:
    """0 at `worst` and beyond, 1 at `best` and beyond, straight between them; either may be the larger."""
    return min(1.0, max(0.0, (value - worst) / (best - worst)))
