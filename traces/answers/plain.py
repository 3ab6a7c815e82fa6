r"""Writes an answer in one plain form: the same LaTeX and Unicode for the same thing, nothing read into it.

It removes what carries no meaning (`$`, `\left`, spacing commands), writes `\dfrac` as `\frac`, `−` as `-`,
`14{,}916` as `14,916`, `①` not at all. It never drops a letter, a digit or a unit.

>>> plain(r"$\left( 3, \dfrac{\pi}{2} \right)$.")
'(3, \\frac{\\pi}{2})'
"""

from __future__ import annotations

import re
import unicodedata

_CHARS = {
    "−": "-", "–": "-", "‐": "-", "‑": "-", "＋": "+", "－": "-", "．": ".", "，": ",", "（": "(", "）": ")",
    "：": ":", "％": "%", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "∕": "/", "⁄": "/", "π": r"\pi ",
    "∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ",
    "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "°": r"^\circ", "±": r"\pm ", "½": r"\frac{1}{2}",
    "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "θ": r"\theta ", "\u00a0": " ", "\u2009": " ", "\u202f": " ",
    "\u200b": "", "\u2060": "", "\ufeff": "", "“": '"', "”": '"', "’": "'",
    **{chr(0xFF10 + d): str(d) for d in range(10)},
}  # fmt: skip
_TABLE = str.maketrans(_CHARS)
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
DOLLAR = "¤"
"""Stands for the currency sign, since `$` alone delimits mathematics."""

_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (r"\\\$", DOLLAR),
        (r"\\\\(?=(?:[dtc]?frac|left|right|sqrt|pi|text|boxed|cup|infty|le|ge|cdot|times|pm)(?![a-z]))", r"\\"),
        (r"\\(?:displaystyle|textstyle|limits|nolimits|bigg?[lr]?|Bigg?[lr]?)(?![A-Za-z])", " "),
        (r"\\(?:left|right)(?![A-Za-z])\s*\.?(?=\s)?", ""),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\frac\s*(\\[a-z]+)\s*([0-9])", r"\\frac{\1}{\2}"),
        (r"\\(?:leqslant|leqq|leq)(?![A-Za-z])", r"\\le "),
        (r"\\(?:geqslant|geqq|geq)(?![A-Za-z])", r"\\ge "),
        (r"\\neq(?![A-Za-z])", r"\\ne "),
        (r"\\(?:lt)(?![A-Za-z])", "<"),
        (r"\\(?:gt)(?![A-Za-z])", ">"),
        (r"\\degree(?![A-Za-z])|\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![A-Za-z])", r"^\\circ "),
        (r"\\(?:text(?:normal|rm|bf|it|sf|tt)?|mbox|math(?:rm|bf|it)|operatorname|rm|bf)\s*\{", r"\\text{"),
        (r"\\text\{\s*e\s*\}", "e"),
        (r"\\text\{\s*i\s*\}", "i"),
        (r"\\text\{([^{}A-Za-z\\]*)\}", r"\1"),
        (r"(?<!\\)\\!\s*", ""),
        (r"\s?\{,\s*\}\s*", ","),
        (r"(?<=[0-9])\\[,;: ]\s*(?=[0-9]{3}(?![0-9]))", ","),
        (r"(?<!\\)\\(?:[,;:> ]|q?quad(?![A-Za-z]))|~", " "),
        (r"\\%", "%"),
        (r"^([^=<>A-Za-z]+)=\s*([A-Za-z])$", r"\2=\1"),
    )
)  # fmt: skip
_DELIMITERS = re.compile(r"\$+|(?<!\\)\\[()\[\]]")


def unreadable(answer: str) -> str | None:
    """What makes a text unfit to be read at all, or None: control characters, text that runs backwards, no content,
    brackets that do not match."""
    for char in answer:
        if unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn", "Cf") and char not in "\n\t\r\u200b\u2060\ufeff":
            return f"the character U+{ord(char):04X}"
    if not any(char.isalnum() or char in "∞∅" for char in answer):
        return "no letter or digit"
    bare = re.sub(r"\\\\|\\[{}]", "", answer)
    return None if bare.count("{") == bare.count("}") else "braces that do not match"


def plain(answer: str) -> str:
    """The plain form of an answer. Applying it twice changes nothing more."""
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda m: "^{" + m.group().translate(_SUPERSCRIPT) + "}", answer)
    text = _currency(text.translate(_TABLE).replace("$$", "$"))
    for pattern, by in _RULES:
        text = pattern.sub(by, text)
    text = re.sub(r"\s+", " ", _DELIMITERS.sub(" ", text)).strip()
    return re.sub(r"([(\[]) | (?=[)\],])", r"\1", text).rstrip(".,;\\ ") or text


def _currency(text: str) -> str:
    """Marks a dollar sign that means money: one that has no partner and stands at a number."""
    if text.replace(r"\$", "").count("$") % 2:
        text = re.sub(r"(?<!\\)\$(?=\s*-?[0-9.])|(?<=[0-9])\$", DOLLAR, text, count=1)
    return text
