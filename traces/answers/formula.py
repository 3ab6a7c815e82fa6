r"""Prepares a plain answer for the engine: what it is called, its unit, and the formula itself.

`x = \frac{1}{2}\text{ cm}` is the name `x`, the unit `cm` and the formula `\frac{1}{2}`. Plain-text notation becomes
LaTeX (`exp(16)`, `2*pi`, `x^10`), and "and" between values a comma. An approximation behind an exact value is
left away: the exact value is the answer.

>>> formula(r"x = -1 + sqrt(3)")
Formula(body='-1 + \\sqrt{3}', name='x', unit='', whole='x = -1 + \\sqrt{3}')
"""

from __future__ import annotations

import re
from typing import NamedTuple

_NAME = re.compile(
    r"((?:[A-Za-z]{1,2}'?(?:_(?:[A-Za-z0-9]|\{[A-Za-z0-9]{1,8}\}))?)(?:\([A-Za-z]\))?|\([A-Za-z](?:, ?[A-Za-z])+\))"
    r"\s*(?:=|\\in(?![A-Za-z])|\\approx)\s*(?=\S)"
)
_UNIT = re.compile(r"\s*(\\text\{[A-Za-z /.]{1,40}\}(?:\^\{?[23]\}?)?|\^\\circ)\s*$")
_AND = re.compile(r"\s*,?\s*(?:\\text\{\s*,?\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z]))\s*")
_FUNCTION = re.compile(
    r"(?<![\\A-Za-z])(arcsin|arccos|arctan|sinh|cosh|tanh|exp|sin|cos|tan|cot|sec|csc|log|ln|pi)(?![A-Za-z])"
)
_CAPTURE = re.compile(r"(\\(?:sin|cos|tan|cot|sec|csc|ln|log))\s*([A-Za-z]|\\[a-z]+)\s*(?=\\cdot|\\times|\*)")
_SQRT = re.compile(r"(?<![\\A-Za-z])sqrt\s*\(")


class Formula(NamedTuple):
    """What is handed to the engine (`body`, LaTeX without delimiters), and what is compared as text beside it."""

    body: str
    name: str
    unit: str
    whole: str = ""
    """The body with its name: for a comparison with another equation."""


def formula(plain: str) -> Formula:
    """Splits a plain answer and writes it as LaTeX."""
    text = _AND.sub(", ", plain)
    exact, approx, _ = text.partition(r"\approx")
    if approx and not re.fullmatch(r"\s*[A-Za-z]?\s*", exact):
        text = exact.strip()
    whole, name = text, _NAME.match(text)
    if name and "=" not in text[name.end() :]:
        text = text[name.end() :]
    else:
        name = None
    unit = _UNIT.search(text)
    if unit and unit.start() > 0 and "," not in text:
        text = text[: unit.start()]
    else:
        unit = None
    return Formula(_latex(text), name[1] if name else "", unit[1].replace(" ", "") if unit else "", _latex(whole))


def _latex(text: str) -> str:
    """Plain-text notation as LaTeX."""
    text = _roots(_FUNCTION.sub(r"\\\1 ", text.replace("**", "^")))
    text = re.sub(r"\^\s*(-?[0-9]{2,}|-[0-9])(?![0-9])", r"^{\1}", text)
    text = re.sub(r"\^\s*\(([^()]{1,60})\)", r"^{(\1)}", text)
    text = _CAPTURE.sub(r"\1(\2) ", text)
    return text.replace("*", r" \cdot ").replace("%", r"\%").strip()


def _roots(text: str) -> str:
    """sqrt(...) as \\sqrt{...}; a bracket that never closes stays as it is, and is not read."""
    while match := _SQRT.search(text):
        depth, end = 1, match.end()
        while end < len(text) and depth:
            depth += (text[end] == "(") - (text[end] == ")")
            end += 1
        if depth:
            return text
        text = f"{text[: match.start()]}\\sqrt{{{text[match.end() : end - 1]}}}{text[end:]}"
    return text


def elements(body: str) -> tuple[str, int]:
    """How a list is written (its opening bracket, or "") and how many elements it has at the top level."""
    text = body.replace(r"\{", "{").replace(r"\}", "}").strip()
    bracket = text[:1] if text[:1] in ("(", "[", "{") and _wraps(text) else ""
    depth, count = 0, 1
    for char in text[1:-1] if bracket else text:
        depth += (char in "([{") - (char in ")]}")
        count += char in ",;" and depth == 0
    return bracket, count


def _wraps(text: str) -> bool:
    """Whether the first bracket closes with the last character."""
    depth = 0
    for i, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0:
            return i == len(text) - 1
    return False
