"""Text as it is compared, counted and taken apart, the same way everywhere.

A refusal is told from an answer, words and sentences from the rest. What a model wrote may
be hostile: every pattern reads a text once, with no backtracking that grows with it.

>>> tokens("What is 1,000 + 4?")
['what', 'is', '1000', '+', '4']
>>> is_refusal("I'm sorry, but I can't help with that."), is_refusal("You cannot divide by zero.")
(True, False)
>>> prose("Keep it short. Don't pad!").sentences
(('keep', 'it', 'short'), ("don't", 'pad'))
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import chain

_TOKEN = re.compile(r"\d+(?:,\d{3}){1,10}(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|[^\W\d_]+|[-+*/=^<>%×÷·√±≤≥≠]")
_SIGNS = str.maketrans({"−": "-", "–": "-", "×": "*", "·": "*", "÷": "/"})


def tokens(text: str) -> list[str]:
    """Words, numbers and signs of a text, in order.

    Numbers and the signs of arithmetic count, for "3 + 4" and "3 - 4" are different tasks; case, white space and
    punctuation do not. A digit group with commas is one number.
    """
    plain = unicodedata.normalize("NFKC", text).casefold().translate(_SIGNS)
    return [token.replace(",", "") for token in _TOKEN.findall(plain)]


def is_number(token: str) -> bool:
    """Whether a token is a number."""
    return token[0].isdigit()


def is_sign(token: str) -> bool:
    """Whether a token is a sign of arithmetic."""
    return not (token[0].isalpha() or token[0].isdigit())


def excerpt(text: str, length: int = 80) -> str:
    """The beginning of a text on one line, for a detail."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


OPENING = 240
"""Characters at the beginning of the answer in which a refusal is looked for."""

_CANNOT = r"(?:can\s?not|can't|won't|will not|am unable to|am not able to|must decline to|have to decline to)"
_DECLINED = (
    r"(?:help|assist|comply|fulfil+|answer (?:that|this|your|the)|respond|provide (?:an?|the|that|this|any)"
    r"|do (?:that|this)|discuss|engage|continue with|support|participate)"
)
_REFUSAL = re.compile(
    rf"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    rf"(?: (?:language )?(?:model|assistant))?,? (?:i|my)\b"
    rf"|\bi(?:'m| am) (?:just |only )?an? (?:ai|language model)\b"
    rf"|\bi {_CANNOT} {_DECLINED}\b"
    rf"|\b(?:sorry|apologi[sz]e)\b[^.\n]{{0,40}}\bi {_CANNOT}\b"
    rf"|\bi(?:'m| am) sorry,? (?:but )?(?:this|that) (?:request|question) (?:violates|goes against)\b"
    rf"|\bi(?:'d| would) (?:rather|prefer) not (?:to )?(?:answer|help|discuss|say)\b",
)


def is_refusal(answer: str, phrases: Iterable[str] = ()) -> bool:
    """Whether an answer opens with a refusal. `phrases`: further ones that it may begin with.

    "cannot" alone is an everyday word ("we cannot divide by zero"), so only whole phrases of refusal count. English
    only: a refusal in another language is not found.
    """
    opening = " ".join(answer[:OPENING].replace("’", "'").casefold().split())
    return _REFUSAL.search(opening) is not None or any(opening.startswith(phrase.casefold()) for phrase in phrases)


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
    """Takes the first `MAX_CHARS` characters apart, as the judges that count words see them.

    A word is a run of letters or digits, with apostrophes inside it; a sentence ends at `.`, `!` or `?` before a
    space, and at the end of a line, so each item of a list is a sentence. Abbreviations ("Mr. Brown" ends a sentence
    after "Mr.") and languages without spaces are not known.
    """
    seen = text[:MAX_CHARS].replace("’", "'").strip()
    parts = (words(part) for part in _SENTENCE_END.split(seen))
    return Prose(seen, tuple(part for part in parts if part))


def words(text: str) -> tuple[str, ...]:
    """The words of a text in lower case."""
    return tuple(word.lower() for word in _WORD.findall(text))


def ramp(value: float, worst: float, best: float) -> float:
    """0 at `worst` and beyond, 1 at `best` and beyond, straight between them; either may be the larger."""
    return min(1.0, max(0.0, (value - worst) / (best - worst)))


def describe(error: BaseException, most: int) -> str:
    """The kind of an exception and the first `most` characters of its message: it may hold all of a hostile text."""
    said = " ".join(str(error)[:most].split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def first_line(error: BaseException) -> str:
    """The kind of an exception and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def did_you_mean(name: str, known: Collection[str]) -> str:
    """`did you mean 'dedup'? ` for a name that is nearly one that is known; else nothing."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}? " if near else ""
