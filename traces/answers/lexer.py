r"""Cuts an answer into tokens: LaTeX, plain text and Unicode in one alphabet.

It decides what is one number (`1{,}234`, `1\,234`, `12 345`), one name (`\alpha`, `sqrt`), a unit or a word, and
nothing about structure. A command that it does not know is an error, never dropped. Every pass is linear.

>>> [token.value for token in tokens(r"\dfrac12 x^{2}")]
['frac', '12', 'x', '^', '{', '2', '}']
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from stillroom.traces.answers.vocabulary import (
    ALIASES,
    CHARACTERS,
    DROPPED,
    FUNCTIONS,
    GREEK,
    OPERATORS,
    SHORT_WORDS,
    TEXT,
    UNITS,
    unit_name,
)

MAX_TOKENS = 3_000
"""Tokens of an answer."""


class Token(NamedTuple):
    """A token. `kind`: number, symbol, function, text, or op (then `value` is what it does). `spaced`: space
    before."""

    kind: str
    value: str
    spaced: bool = False


class Unreadable(Exception):
    """The text is not wholly an answer that can be read. Says what stands in the way."""


_TABLE = str.maketrans(CHARACTERS)
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ]+")
_RAISE = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
CURRENCY = frozenset("€£¥₹¤")
"""Currency signs; ¤ stands for the dollar, since `$` alone delimits mathematics."""
_DOUBLED = re.compile(
    r"(?<!\\)\\\\(?=(?:[dtc]?frac|left|right|sqrt|pi|text|boxed|cup|infty|leq?|geq?|cdot|times|pm|sin|cos|tan|quad|circ|begin|end|in|[bB]igg?[lr]?)(?![a-z]))"
)
_COMMA = re.compile(r"\s?\{,\s*\}\s*")
_JOINED = re.compile(r"(?:or|and)[A-Z]|or[a-z]")
_DISPLAY = re.compile(r"(?<!\\)\\[()\[\]]")
_MONEY = re.compile(r"\$(?=\s*-?[0-9.])|(?<=[0-9])\$")
_HTML = re.compile(r"<(/?)(su[pb])>")
_FOREIGN = (
    r"(?:[^\W\d_A-Za-z]|[\u0300-\u036f\u064b-\u065f\u0900-\u0963\u0971-\u09e3\u0a01-\u0a65\u0a81-\u0ae3"
    r"\u0c00-\u0c63\u0e31-\u0e4e])"
)
"""A letter of another alphabet or script, or a sign that is part of one."""
_LONE_UNITS = {"K": "kelvin", "F": "farad", "A": "ampere", "T": "tesla", "C": "coulomb"}
"""Capitals that are units where they are set upright behind a value; elsewhere they are letters."""
_UNIT = re.compile(
    r"[A-Za-zΩμ]{1,4}(?:\^\{?-?[0-9]\}?)?(?:(?:\\[,;:. ]|\\cdot|[\s~./·*])+[A-Za-zΩμ]{1,4}(?:\^\{?-?[0-9]\}?)?)*"
)
"""Units that are multiplied and divided: m\\,s^{-2}, kg m/s^2."""
_TOKEN = re.compile(
    r"(?P<space>(?:[\s~]|\\[,;:> ])+)"
    r"|(?P<number>[0-9]+(?:\.[0-9]+|\.(?=\s*\\(?:overline|bar|dot)\b))?|\.[0-9]+)"
    r"|(?P<command>\\(?:[A-Za-z]+|[^A-Za-z]))"
    rf"|(?P<word>[A-Za-z]*+{_FOREIGN}(?:{_FOREIGN}|[A-Za-z])*)"
    r"|(?P<letters>[A-Za-z]+)"
    r"|(?P<op>\*\*|<=|>=|!=|=<|=>|==|\.\.\.|.)",
    re.DOTALL,
)
_GROUPED = re.compile(r"[1-9][0-9]{0,2}(?:(?:,[0-9]{3})+|(?:\\[,;: ][0-9]{3})+|(?: [0-9]{3})+)(?![0-9])(?:\.[0-9]+)?")
_OPEN, _CLOSE = frozenset(["(", "[", "{", "\\{"]), frozenset([")", "]", "}", "\\}"])
_PLAIN_OPS = frozenset("+-*/^_()[]{},;:|=<>!'&%.")
_PREFIXES = ("sqrt", "arcsin", "arccos", "arctan", "sin", "cos", "tan", "cot", "log", "ln", "exp")


def unreadable(answer: str) -> str | None:
    """What makes a text unfit to be read at all, or None: control characters, text that runs backwards, no
    content."""
    if answer.isascii() and answer.isprintable():
        return None if any(map(str.isalnum, answer)) else "no letter or digit"
    for char in answer:
        if unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn", "Cf") and char not in "\n\t\r\f\u200b\u2060\ufeff":
            return f"the character U+{ord(char):04X}"
    return None if any(char.isalnum() or char in "∞∅" for char in answer) else "no letter or digit"


def plain(text: str) -> str:
    r"""One way of writing the same characters: Unicode signs as LaTeX or ASCII, `{,}` and `\!` undone."""
    if not text.isascii():
        text = _RAISED.sub(lambda match: "^{" + match.group().translate(_RAISE) + "}", text).translate(_TABLE)
    if "\f" in text:
        text = text.replace("\frac", "\\frac")  # what became of a backslash in a careless string
    if "$" in text:  # those that delimit mathematics go; one without a partner, at a number, means money
        text = text.replace("\\$", "¤").replace("$$", "$")
        if text.count("$") % 2:
            text = _MONEY.sub("¤", text, count=1)
        text = text.replace("$", " ")
    if "\\" in text:
        text = _DISPLAY.sub(" ", text)
        if "\\\\" in text:
            text = _DOUBLED.sub(r"\\", text)
        if "\\!" in text:
            text = re.sub(r"\\!\s*", "", text)
    if "\f" in text:
        text = text.replace("\frac", "\\frac")  # what became of a backslash in a careless string
    if "{," in text:
        text = _COMMA.sub(",", text)
    if "<su" in text:
        text = _HTML.sub(lambda match: "}" if match[1] else {"sup": "^{", "sub": "_{"}[match[2]], text)
    return text.rstrip("\\ \n")


def tokens(text: str) -> list[Token]:
    """The tokens of a plain text.

    Raises Unreadable for a command or a character that is not known.
    """
    return _Lexer(text).run()


class _Lexer:
    def __init__(self, text: str) -> None:
        self.text = text
        self.out: list[Token] = []
        self.at = self.depth = 0
        self.spaced = False

    def run(self) -> list[Token]:
        text, match = self.text, _TOKEN.match
        while self.at < len(text):
            found = match(text, self.at)
            assert found is not None  # the last alternative takes anything
            kind, value, start = found.lastgroup, found.group(), self.at
            self.at = found.end()
            if kind == "space":
                self.spaced = True
                continue
            if kind == "number":
                grouped = _GROUPED.match(text, start)
                if grouped and self.is_one_number(grouped.group()):
                    self.at, value = grouped.end(), re.sub(r"[^0-9.]", "", grouped.group())
                self.put("number", value)
            elif kind == "op":
                self.operator(value)
            elif kind == "letters":
                self.letters(value)
            elif kind == "word":
                self.put("text", value)
            else:
                self.command(value[1:])
            if len(self.out) > MAX_TOKENS:
                raise OverflowError(f"more than {MAX_TOKENS:,} parts")
        return self.out

    def put(self, kind: str, value: str) -> None:
        self.out.append(Token(kind, value, self.spaced))
        self.spaced = False

    def is_one_number(self, grouped: str) -> bool:
        """Within brackets `1,234` may be two values; there it takes two groups or zeros to be one."""
        if len(grouped) < 5:
            return False
        if "," not in grouped:
            return not (self.out and self.out[-1].kind == "number")
        return self.depth == 0 or grouped.count(",") > 1 or grouped.endswith(",000")

    def operator(self, value: str) -> None:
        value = {"**": "^", "=<": "<=", "=>": "implies", "==": "=", "...": "dots"}.get(value, value)
        if value in _OPEN:
            self.depth += value != "{" or bool(self.out and self.out[-1].value in "^_")
        elif value in _CLOSE:
            self.depth = max(0, self.depth - 1)
        if value in _PLAIN_OPS or value in CURRENCY or len(value) > 1:
            self.put("op", value)
        elif value in '"*`':
            self.spaced = True
        else:
            raise Unreadable(f"the character {value!r}")

    def letters(self, run: str) -> None:
        before = self.out[-1] if self.out else None
        if run in ("st", "nd", "rd", "th") and not self.spaced and before is not None and before.kind == "number":
            return  # 15th
        if run == "min" and before is not None and before.kind == "number":
            self.put("text", run)
        elif run in FUNCTIONS or run in ALIASES:
            self.put("function", ALIASES.get(run, run))
        elif run in ("pi", "Pi", "PI"):
            self.put("symbol", "pi")
        elif run in ("infinity", "Infinity", "inf", "infty", "oo"):
            self.put("symbol", "infinity")
        elif run in ("and", "or", "AND", "OR"):
            self.put("op", run.lower())
        elif not self.spaced and self.out and _JOINED.fullmatch(run):  # 1orW(x)
            joiner = "or" if run.startswith("or") else "and"
            self.put("op", joiner)
            self.put("symbol", run[len(joiner) :])
        elif run in ("mod", "choose", "in"):
            self.put("op" if run != "in" or self.depth else "text", run)
        elif len(run) == 1:
            self.put("symbol", run)
        elif self.is_word(run, before):
            self.put("text", run)
        else:  # letters that stand for a product, one after the other; the first may belong to a function's name
            for prefix in _PREFIXES:
                if run.startswith(prefix):
                    self.put("function", prefix)
                    run = run[len(prefix) :]
                    break
            if run.startswith("pi"):
                self.put("symbol", "pi")
                run = run[2:]
            for letter in run:
                self.put("symbol", letter)

    def is_word(self, run: str, before: Token | None) -> bool:
        if before is not None and before.value in "^_" and before.kind == "op":
            return False
        lower = run.lower()
        after = before is not None and (before.kind in ("number", "text") or before.value in (")", "}", "/", "$"))
        if after and lower in UNITS:
            return True
        if len(run) == 2 and not (self.spaced or self.out):
            return lower in SHORT_WORDS and self.text[self.at : self.at + 2].strip().isalpha()
        if (
            lower in SHORT_WORDS
            and not (run.isupper() and lower not in ("no", "yes") and len(run) < 3)
            and run != "NO"
        ):
            return True
        if run.startswith(_PREFIXES) or run.startswith("pi"):
            return len(run) > 7
        return len(run) > 3 and not run.isupper()

    def command(self, name: str) -> None:
        if name in DROPPED:
            if name in ("left", "right") and self.text.startswith(".", self.at):
                self.at += 1
        elif name in TEXT:
            self.textual(name)
        elif name in OPERATORS:
            value = OPERATORS[name]
            if value == " ":
                self.spaced = True
            elif value == "infinity":
                self.put("symbol", value)
            else:
                if value in ("\\{", "lfloor", "lceil"):
                    self.depth += 1
                elif value in ("\\}", "rfloor", "rceil"):
                    self.depth = max(0, self.depth - 1)
                self.put("op", value)
        elif name in FUNCTIONS or name in ALIASES:
            self.put("function", ALIASES.get(name, name))
        elif name == "pi" or name in GREEK:
            self.put("symbol", name)
        elif name in ("phantom", "label", "tag", "hspace", "vspace", "color", "textcolor"):
            self.content()
        elif name.isspace():
            self.spaced = True
        else:
            self.unknown(name)

    def unknown(self, name: str) -> None:
        for operator in ("quad", "cdot", "times", "infty", "pi", "cup", "circ", "pm"):
            if name.startswith(operator) and len(name) <= len(operator) + 2:  # \quadx, \cdotx: a forgotten space
                self.command(operator)
                self.letters(name[len(operator) :])
                return
        if name in ("not", "nexists", "ensuremath"):
            raise Unreadable(f"the command \\{name}")
        self.put("command", name)  # only ever equal to itself

    def content(self) -> str:
        """The text in the braces that follow, with both taken."""
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        if not self.text.startswith("{", self.at):
            one = self.text[self.at : self.at + 1]
            self.at += 1
            return one
        depth, start = 0, self.at + 1
        for place in range(self.at, len(self.text)):
            depth += (self.text[place] == "{") - (self.text[place] == "}")
            if depth == 0:
                self.at = place + 1
                return self.text[start:place]
        raise Unreadable("braces that do not match")

    def textual(self, name: str) -> None:
        content = self.content()
        inner = content.strip(" ~\n\t")
        lone = re.fullmatch(r"[A-Za-z]", inner)
        before = self.out[-1] if self.out else Token("", "")
        after_value = before.kind in ("number", "text") or before.value in (")", "}", "pi")
        upright = name in ("text", "mbox", "mathrm", "textrm", "textnormal")
        if name == "mathbb" or (name in ("mathcal", "mathscr", "mathfrak") and lone):
            self.put("symbol", f"{name}:{inner}")
        elif lone and upright and after_value and inner in "mgslhtLVJNKWFATC":
            self.put("text", _LONE_UNITS.get(inner, inner))
        elif not lone and upright and after_value and (unit := _compound_unit(inner)):
            self.put("text", unit)
        elif (
            lone
            or inner in FUNCTIONS
            or inner in ALIASES
            or not any(map(str.isalpha, inner))
            or re.fullmatch(r"\(?[A-Z]\)?", inner)
            or "\\" in inner
            or "$" in inner
            or "=" in inner
        ):
            found = _Lexer(content.replace("$", " ")).run()
            if found:
                self.out.append(found[0]._replace(spaced=self.spaced))
                self.out.extend(found[1:])
            self.spaced = False
        else:
            for word in re.findall(r"[0-9]+(?:\.[0-9]+)?|[,;]|[^\s,;0-9]+", inner):
                if word.lower() in ("and", "or", ",", ";"):
                    self.put("op", word.lower())
                else:
                    self.put("number" if word[0].isdigit() else "text", word)


def _compound_unit(text: str) -> str:
    """m\\,s^{-2} and m/s^2 in one way, m/s^2; empty for what is not several units, or one with an exponent."""
    if _UNIT.fullmatch(text) is None or text.isalpha():
        return ""
    up: dict[str, int] = {}
    sign = 1
    for divided, name, power in re.findall(r"(/?)[^A-Za-zΩμ/]*([A-Za-zΩμ]+)(?:\^\{?(-?[0-9])\}?)?", text):
        name = _LONE_UNITS.get(name, name)
        if name.lower() not in UNITS:
            return ""
        sign = -1 if divided else 1
        unit = unit_name(name)
        up[unit] = up.get(unit, 0) + sign * int(power or 1)
    written = [
        [unit + (f"^{abs(n)}" if abs(n) > 1 else "") for unit, n in sorted(up.items()) if n * s > 0] for s in (1, -1)
    ]
    return "/".join(filter(None, [" ".join(written[0]) or "1", *written[1]]))
