r"""From how people write an answer to how it is read: a table of rewritings, each of which keeps what is said.

It is applied to both answers once they are found, before anything is parsed, and decides nothing. What it does not
know, it leaves as it is.

>>> reworded(r"\frac{737}{39}\;\text{(about }18.9\text{ cards)}")
'\\frac{737}{39} \\approx 18.9'
>>> reworded(r"\text{The requested sum is }505."), reworded("101 (base 2)"), reworded("١٥")
('505', '101_{2}', '15')
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

import yaml

from stillroom.traces.answers.vocabulary import NO_UNITS, NUMBERS, PROPERTIES, SAYS_NOTHING, SCALES

_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "eighth": 8, "tenth": 10}
_READ = yaml.safe_load((files("stillroom.traces.answers") / "languages.yaml").read_text(encoding="utf-8"))
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_TEXT = r"\\(?:text|textrm|mathrm|mbox|textbf|mathbf|textnormal)\s*"
CJK = r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
_SPACE = r"(?:\\[,;:! ]|\\q?quad|[\s~]){0,9}+"


def _any(words: list[str]) -> str:
    """A pattern of any of these, the longest first."""
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))


def _edge(word: str) -> str:
    """Where words are written apart, one begins where a word may begin."""
    return "" if re.match(CJK, word) else r"\b"


class Rewriting(NamedTuple):
    """What is looked for, and what takes its place. `sign`: stands in every text in which it can be found."""

    sign: str
    pattern: re.Pattern[str]
    by: str | Callable[[re.Match[str]], str]


def _rule(sign: str, pattern: str, by: str | Callable[[re.Match[str]], str]) -> Rewriting:
    return Rewriting(sign, re.compile(pattern, re.DOTALL), by)


_CIRCLED = r"\\textcircled\s*\{?\s*(?:\\text\{)?\s*\d+\s*\}?\}?"


def _circled(match: re.Match[str]) -> str:
    """①③④ and \\textcircled{1}\\textcircled{3}: the numbers, as a list."""
    return ", ".join(re.findall(r"\d+", match.group()))


def _number_set(match: re.Match[str]) -> str:
    """\\mathbb Z^+, \\mathbb{Z}_{\\ge 0}: one name for a set of numbers with its sign or bound."""
    sign = match[2] or match[3]
    return rf"\mathbb{{{match[1]}{sign if len(sign) == 1 else '>' + sign[-1]}}}"


def _told(match: re.Match[str]) -> str:
    """What a sentence in an answer comes to; all of it where its last clause sets a condition, or denies."""
    clause = re.split(r"[,;.]|\b(?:and|so)\b", match[1])[-1]
    return match.group() if _OPEN_WORDS.search(clause) or _DOUBTED.search(match[1]) else match[2]


def _table(match: re.Match[str]) -> str:
    """Rows in brackets as a matrix; unchanged where there is more in them than values."""
    text = match[1]
    if text.startswith("[[") and text.endswith("]]"):
        text = text[1:-1]
    rows = re.findall(r"\[([^\[\]]*)\]", text)
    if re.sub(r"\[[^\[\]]*\]|[\s,]", "", text):
        return match.group()
    return r"\begin{pmatrix}" + r"\\".join(row.replace(",", "&") for row in rows) + r"\end{pmatrix}"


def _approximated(match: re.Match[str]) -> str:
    """An approximation in brackets, with at most a unit; unchanged where its words say more."""
    words = set(match[2].lower().split())
    return match.group() if words & (NO_UNITS | _CHANGES) or words & SCALES.keys() else rf" \approx {match[1]}"


def _base(match: re.Match[str]) -> str:
    written = match[2].lower()
    return f"{match[1]}_{{{_BASES.get(written, written)}}}"


def _subscript(match: re.Match[str]) -> str:
    """v_{\\max}, v_{max} and v_{\\text{max}}: letters side by side."""
    return f"_{{{' '.join(match[1] or match[2] or match[3])}}}"


def _number(match: re.Match[str]) -> str:
    """twenty-five, two thirds: the number. Other words (one two, third, one and half) are left as they are."""
    all_words = re.findall("[a-z]+", match.group(1).lower())
    words = [word for word in all_words if word != "and"]
    *counted, last = words
    part = _PARTS.get(last) or _PARTS.get(last.removesuffix("s"))
    if part is not None and "and" in all_words:
        return match.group()
    if part is None or last == "half":
        value = _in_digits(words if part is None else counted or ["one"])
        return match.group() if value is None else str(value) if part is None else rf"\frac{{{value}}}{{2}}"
    value = _in_digits(counted) if len(counted) == 1 else None  # "third" alone, and "twenty third", are places
    return match.group() if value is None or (value == 1) is (last not in _PARTS) else rf"\frac{{{value}}}{{{part}}}"


def _in_digits(words: list[str]) -> int | None:
    """The value of number words in their order, or None."""
    total = part = 0
    room = 1_000  # what comes next must be less
    scale = 1_000_000_000  # and so must the next thousand or million
    for place, word in enumerate(words):
        if word in ("thousand", "million"):
            size = int(SCALES[word])
            if size >= scale or (part == 0 and place > 0):
                return None
            total, part, room, scale = total + (part or 1) * size, 0, 1_000, size
        elif word == "hundred" and part < 10 and (part or not place):
            part, room = (part or 1) * 100, 100
        elif (value := NUMBERS.get(word)) is not None and value < room and (value or len(words) == 1):
            part, room = part + value, 10 if value >= 20 else 0
        else:
            return None
    return total + part


def _property(match: re.Match[str]) -> str:
    """The property that the answer names, in words alone: "n is prime", "all primes n", "even $n$"."""
    words = re.findall(r"[a-z]+", re.sub(_TEXT, " ", match.group()).lower())
    told = [word.removesuffix("s") if word.removesuffix("s") in PROPERTIES else word for word in words]
    said = [word for word in told if word not in SAYS_NOTHING and len(word) > 1]
    letters = {word for word in words if len(word) == 1 and word != "a"}
    plain = len(letters) <= 1 and said and set(said) <= PROPERTIES and len(words) > 1
    return rf"\text{{{' '.join(said)}}}" if plain else match.group()


_PLAIN = r"[-+]?(?:[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?(?:/[0-9]+)?|\\[dt]?frac\{[0-9]+\}\{[0-9]+\})"
_BOUNDS = {
    words: interval
    for interval, spellings in {
        r"[@, \infty)": r"at least|no less than|no fewer than|not less than|≥|>=|\geq|\ge"
        "|or more|or greater|or above|or higher",
        r"(-\infty, @]": r"at most|no more than|not more than|≤|<=|\leq|\le|or less|or fewer|or below|or lower",
        r"(@, \infty)": "more than|greater than|larger than|above|>",
        r"(-\infty, @)": "less than|fewer than|smaller than|below|<",
    }.items()
    for words in spellings.split("|")
}
"""What a bound in words is as an interval."""


def _bounded(match: re.Match[str]) -> str:
    return _BOUNDS[match["word"].lower()].replace("@", match["value"])


_CHANGES = frozenset(["or", "more", "less", "not", "no", "is", "wrong", "half", "and"])
_ADDS_NOTHING = ("exactly", "precisely", "altogether", "all together", "in total", "in all", "overall")
_NUMBER_WORDS = _any([*NUMBERS, "hundred", "thousand", "million", *_PARTS, *(f"{part}s" for part in _PARTS)])
_DOUBTED = re.compile(r"(?i)\b(?:not|never|wrong|incorrect|false|neither|none|half|doubt|maybe|perhaps|guess)\b|n't")
_OPEN_WORDS = re.compile(r"\b(?:if|when|unless|not|never|or|than|least|most|between|about)\b")
_REWRITINGS = (
    _rule(
        "",
        rf"(?i)\A(?:{_TEXT}\{{)?\s*((?:{_NUMBER_WORDS})(?:[\s-]+(?:and\s+)?(?:{_NUMBER_WORDS}))*)\s*\}}?\.?\Z",
        _number,
    ),
    _rule("", r"\A[\sA-Za-z$\\{}]*(?:even|odd|primes?|composite)\b[\sA-Za-z$\\{}]*\Z", _property),
    # 1.234,50: points between thousands, and a decimal comma
    _rule(",", r"(?<![\d.,])(\d{1,3}(?:\.\d{3})+),(\d+)(?![\d.,])", lambda m: m[1].replace(".", "") + "." + m[2]),
    # at least 5, 5 or more, ≥ 5
    _rule(
        "",
        rf"(?i)\A\s*(?:{_TEXT}\{{\s*)?(?P<word>{_any([*_BOUNDS])})(?:\s*\}})?[\s$~]*(?P<value>{_PLAIN})[\s$]*\.?\Z",
        _bounded,
    ),
    _rule(
        "or",
        rf"(?i)\A[\s$]*(?P<value>{_PLAIN})[\s$]*(?:{_TEXT}\{{)?\s*(?P<word>or (?:more|greater|above|higher|less|fewer"
        r"|below|lower))(?:\s*\})?\.?\Z",
        _bounded,
    ),
    # \dot x
    _rule(
        "dot", r"\\(d{0,2}dot)(?![a-z])\s*(?:\{\s*([A-Za-z])\s*\}|([A-Za-z]))", lambda m: f"{m[2] or m[3]}_{{{m[1]}}}"
    ),
    # all real numbers except -4
    _rule(
        "xcept",
        rf"\A\s*+(?:{_TEXT}\{{\s{{0,3}})?(?:all\s{{1,3}})?(?:(?:real|ℝ|R|\\mathbb\{{R\}})\s{{0,3}})?"
        r"(?:(?:numbers|values(?: of \w)?|x)\s{1,3})?except(?: for)?(?:\s{0,3}\})?[\s$]{0,4}(?:[a-z]\s{0,2}=\s{0,2})?"
        rf"({_PLAIN})[\s$]{{0,4}}\.?\Z",
        lambda match: rf"\mathbb{{R}} \setminus \{{{match[1].replace(',', '')}\}}",
    ),
    # 1 m 97 cm, 2 h 30 min
    _rule(" ", r"(?<=\d) (m|h|s|g|L|l) (?=\d[\d.]* ?(?:mm|cm|min|mg|mL|ml|s|m)\.?\Z)", r"\\text{ \1} "),
    # 5 Nm, 3 kWh, 5 \\text{Nm}: units written together, whose capitals count
    _rule(
        "",
        rf"(?<=[\d}}$]){_SPACE}(?P<set>{_TEXT}\{{\s*)?(?P<first>k?N|k?W|A)(?:\s?(?:[·⋅]|\\cdot)\s?)?"
        r"(?P<second>(?<=N)m|(?<=N[·⋅])m|(?<=N\\cdot )m|(?<=[WA])h)(?(set)\s*\}|)(?![\w^])",
        r"\\mathrm{\g<first> \g<second>}",
    ),
    # 127'238
    _rule("'", r"(?<![\d.,'])(\d{1,3})((?:'\d{3})+)(?![\d'])", lambda m: m[1] + m[2].replace("'", "")),
    # [D] is correct
    _rule(
        "is",
        r"\A[(\[*\s$]*([A-J])[)\]*\s$]*\s(?:is|are)\s(?:the\s)?(?:correct|right|true)(?:\s(?:answer|option|choice))?[.*)\s]*\Z",
        r"\1",
    ),
    # matrix([a,b],[c,d]), Matrix([[a, b], [c, d]]): as computer algebra writes it
    _rule("atrix(", r"\b[mM]atrix\(\s*(\[.*\])\s*\)", _table),
    # 7 x 13
    _rule(" x ", r"(?<=\d) [xX] (?=\d)", r" \\times "),
    # 72 (seventy-two)
    _rule(
        "(",
        rf"(?i)(?<=\d)\s?\(((?:{_NUMBER_WORDS})(?:[\s-]+(?:and\s+)?(?:{_NUMBER_WORDS}))*)\)\Z",
        lambda m: "" if m.string[: m.start()].strip(" $") == _number(m) else m.group(),
    ),
    # 72 exactly, 72 in total
    _rule(" ", rf"(?<=[\w)}}$])\s*,?\s(?:{'|'.join(_ADDS_NOTHING)})\.?\Z", ""),
    # ['C']: a list as a program prints it
    _rule("['", r"\A\s*\[\s*(['\"])([^'\"\[\]]+)\1\s*\]\s*\Z", r"\2"),
    # \mathbb Z^+, \mathbb{Z}_{\ge 0}: a name for the set with its sign or bound
    _rule(
        "mathbb",
        r"\\mathbb\s*\{?\s*([A-Z])\s*\}?\s*[_^]\s*(?:\{\s*(\+|-|\*|(?:\\geq?|\\geqslant|>=?|≥)\s*[01])\s*\}|(\+|\*))",
        _number_set,
    ),
    # v_{\max}, \lambda_{\text{max}}, \omega^{\prime}, x^*, 12^{\mathrm{th}}
    _rule(
        "_", rf"_\s*(?:\{{\s*(?:{_TEXT}\{{\s*([A-Za-z]+)\s*\}}|\\?(max|min))\s*\}}|\\(max|min)(?![a-z]))", _subscript
    ),
    _rule(
        "prime",
        r"\^\s*\{\s*((?:\\prime\s*)+)\}|\^\s*\\prime(?![a-z])",
        lambda m: "'" * max(1, m.group().count("prime")),
    ),
    _rule("^", r"(?<=[A-Za-z}])\^\s*(?:\{\s*(?:\*|\\ast|\\star)\s*\}|\*(?!\*)|\\(?:ast|star)(?![a-z]))", "_{ast}"),
    _rule("^", rf"(?<=\d)\s*\^\s*\{{\s*(?:{_TEXT}\{{\s*)?(?:st|nd|rd|th)\s*\}}?\s*\}}", ""),
    # 0.(3): a repeating decimal
    _rule("(", r"(?<![\d.])(\d+\.\d*)\((\d{1,12})\)", r"\1\\overline{\2}"),
    # 101 (base 2), 101 in base two
    _rule(
        "base",
        rf"(?<![\w.])([0-9A-F]+){_SPACE}(?:{_TEXT}\{{)?\s*(?:\(|in\b)?\s*base\s+(\d+|{'|'.join(_BASES)})\s*\)?\s*\}}?\s*\Z",
        _base,
    ),
    # an exact value with its approximation in brackets; the two must agree, like the sides of an equation
    _rule(
        "(",
        rf"{_SPACE}(?:{_TEXT}\{{\s*)?\(\s*(?:{_TEXT}\{{\s*)?(?:about|approx(?:imately|\.)?|roughly|\\approx|≈)"
        rf"(?:\s*\}})?{_SPACE}\$?([-+]?[0-9][0-9.,]*)\$?{_SPACE}(?:{_TEXT}\{{)?([a-zA-Z\s]*)\)\s*\}}?\s*\Z",
        _approximated,
    ),
    # (1,2) union (3,4), (1,2) \text{ U } (3,4)
    _rule(
        "", rf"(?<=[)\]}}]){_SPACE}(?:{_TEXT}\{{)?\s*(?:[Uu]nion|U)\s*\}}?{_SPACE}(?=[(\[{{]|\\left|\\{{)", r" \\cup "
    ),
    _rule("textcircled", rf"{_CIRCLED}(?:[\s,，、;]*(?:和|与)?\s*{_CIRCLED})*", _circled),
    # values on separate lines
    _rule("\n", r"(?<=[\w)}])[ \t]*\n\s*\n\s*(?=[\w(\\-])", ", "),
    # \text{The requested sum is }505.
    _rule(
        "\\",
        rf"\A\s*{_TEXT}\{{([A-Za-z][^{{}}0-9$\\]*\b(?:is|are|equals))\s*:?\s*\}}\s*(?=[-+$\\0-9(])(.+?)\.?\s*\Z",
        _told,
    ),
    _rule(
        "is",
        r"\A\s*+(The\b(?:[A-Za-z\s]|\\ )*?(?:\s|\\ )is)(?:\s|\\ )++(?=[-+$\\0-9(])(?!\\ )(.+?)\.?\s*\Z",
        _told,
    ),
)

_MARKS = str.maketrans("٫٬٪、，。।؛،−", ".,%,,..;,-") | {0x2460 + n: rf"\textcircled{{{n + 1}}}" for n in range(20)}
COUNTERS = frozenset(_READ["counters"].split())
"""Chinese, Japanese and Korean words that are units."""
_CHANGING = re.compile("|".join(map(re.escape, _READ["changing"].split())))
_COUNTED = re.compile(
    rf"(?<=[0-9}}$)])\s*(?P<set>{_TEXT}\{{\s*)?(?P<counter>{_any(_READ['counters'].split())})?(?P<noun>{CJK}{{0,8}}?)"
    rf"(?P<copula>{_any(_READ['copulas'].split())})?(?(set)\s*\}})[\s.]*(?=\Z|,)"
)


_THEREFORE = re.compile(
    r"\A(?:(?:所以|因此|故|综上|于是|よって|したがって|ゆえに|따라서|그러므로)|(?=[^\x00-\x7f,.\s]{1,20}(?:是|为|等于)[\s(]))"
    r"(?!.*(?:不是|并非|没有|ない|아니))(?P<said>[^\x00-\x7f,.\s]*+(?:,\s*[^\x00-\x7f,.\s]*+)*)\s*+(?=[-+$\\0-9(])(?P<value>.+?)[.\s]*\Z"
)


def _concluded(match: re.Match[str]) -> str:
    """The value of a conclusion; all of it where the words before the value change what it says."""
    said = match["said"].replace("不等式", "")
    changed = _CHANGING.search(said) or _BOUNDS_ABROAD.search(said)
    return match.group() if changed else match["value"]


_BOUNDS_ABROAD = re.compile(
    "大于|小于|大於|小於|高于|低于|最多|最少|至少|至多|排除|除|近|差|倍|负|減|加|乘|错|誤|から|未満|より|미만|이하|이상|배"
)


def _digits(text: str) -> str:
    """Digits of other scripts as ours, with their signs."""
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text.translate(_MARKS))


_VALUE_BEFORE, _VALUE_AFTER = r"(?<=[\w)}$])", r"(?=[\w($\\-])"


def _between_values(apart: str, together: str) -> re.Pattern[str]:
    """A word between two values. `apart`: words that need spaces around them or are set as text."""
    return re.compile(
        rf"{_VALUE_BEFORE}(?:\s+(?:{apart})\s+|\s*{_TEXT}\{{\s*(?:{apart}|{together})\s*\}}\s*"
        rf"|\s*(?:{together})\s*){_VALUE_AFTER}"
    )


def with_decimal_comma(text: str) -> str:
    """20.000,5 and 20.000 as 20000.5 and 20000, for texts of which it is known that they write numbers so."""
    text = re.sub(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+(?![\d.])", lambda match: match.group().replace(".", ""), text)
    return re.sub(r"(?<=\d),(?=\d)", ".", text)


_OR_HERE = _between_values("oder|ou|или|أو|या|hoặc|또는", "或者|或是|或|または")
_AND_HERE = _between_values("und|et|и|और|và", "以及|和|与|及")


def _counted(match: re.Match[str]) -> str:
    """12元, 858颗糖果, 24個です: the number alone, or with a unit; unchanged where more is said than a unit."""
    counter, noun = match["counter"], match["noun"]
    if not (counter or match["copula"]) or _CHANGING.search(noun) or (noun and not counter):
        return match.group()
    return rf"\text{{ {counter}}}" if counter else ""


_MORE_THAN_A_NUMBER = re.compile(
    r"\d x \d|[A-Za-z]{3}|[NWA][mh]|\A\s*[<>]|\d or |[_^(\[\n]|\d\.\d{3}|[)}\]]\s*U|\d'\d| [mhsgLl] \d"
)
"""What any of the rewritings needs, in a text of ASCII."""


@lru_cache(maxsize=4_096)
def reworded(text: str) -> str:
    """An answer in the words and signs that are read."""
    if not text.isascii():
        text = _COUNTED.sub(_counted, re.sub(rf"\*\*(?={CJK})", "", _digits(text)))
        text = _THEREFORE.sub(_concluded, re.sub(r"\A(?:选项|選項|選択肢)\s*(?=[A-J])", "", text))
    elif not _MORE_THAN_A_NUMBER.search(text):
        return text
    text = _AND_HERE.sub(", ", _OR_HERE.sub(" or ", text))
    for sign, pattern, by in _REWRITINGS:
        if sign in text:
            text = pattern.sub(by, text)
    return text


AND, OR = _any(_READ["and"].split()), _any(_READ["or"].split())
"""Patterns of words that join two answers to one, and of those that leave it open which is meant."""


def _markers(kind: str) -> str:
    """A pattern of the words that announce an answer, with what stands between them and the answer."""
    return "|".join(
        rf"{_edge(language[kind][0])}(?:{_any(language[kind])})(?:\s{{1,3}}(?:{_any(_READ['between'])}))*"
        rf"[\s*_]{{0,6}}(?:{_any(language['links'])})[\s*_]{{0,4}}[:：]?"
        for language in _READ["markers"].values()
    )


MARKERS, WEAK_MARKERS = _markers("words"), _markers("weak")
CHOOSING = rf"(?<![不没別别])(?:{_any(_READ['choosing'])})\s{{0,3}}[:：]?\s{{0,3}}(?=[（(]?[A-J](?![A-Za-z]))"
"""A pattern of the words that announce a choice by its letter."""
_WORDS = tuple(
    {
        word.lower()
        for words in (_READ["choosing"], *(m["words"] for m in _READ["markers"].values()))
        for word in words
    }
)


def is_foreign(lowered: str) -> bool:
    """Whether a text in lower case may announce its answer in another language than English."""
    return any(map(lowered.__contains__, _ASCII_WORDS if lowered.isascii() else _WORDS))


_ASCII_WORDS = tuple(word for word in _WORDS if word.isascii())
