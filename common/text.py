"""Text as tokens that two texts can be compared by.

Numbers and the signs of arithmetic count, for "3 + 4" and "3 - 4" are different tasks; case, white space and
punctuation do not. A digit group with commas is one number.

>>> tokens("What is 1,000 + 4?")
['what', 'is', '1000', '+', '4']
"""

from __future__ import annotations

import re
import unicodedata

_TOKEN = re.compile(r"\d+(?:,\d{3}){1,10}(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|[^\W\d_]+|[-+*/=^<>%×÷·√±≤≥≠]")
_SIGNS = str.maketrans({"−": "-", "–": "-", "×": "*", "·": "*", "÷": "/"})


def tokens(text: str) -> list[str]:
    """Words, numbers and signs of a text, in order."""
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
