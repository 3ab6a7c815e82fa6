r"""What a plain sentence states: "So Jerry has 4 red chickens." states 4, "The argument is **valid**." valid.

Used where the rules did not understand an answer because it is a sentence, or where nothing marks the answer and the
text ends with a sentence. It only ever makes an answer accepted, and rejects none. A sentence states something if it
holds one value, once the numbers of the prompt are left out, and none of the words that change, deny or doubt it
(`refusing` in `languages.yaml`). Of several values it states the one that it ends with: "… is 4."

>>> stated("Karla would save 550 gallons with a car that makes 48 miles per gallon.", "... 48 miles per gallon ...")
Stated(value='550 gallon', noun='')
>>> concluding("48 + 24 = 72.\nSo she sold 72 clips. I hope this helps!")
'So she sold 72 clips'
>>> stated("He has 4 or 5 chickens.") is None
True
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import NamedTuple

import yaml

from stillroom.traces.answers.vocabulary import FILLERS, NO_UNITS, NUMBER_WORDS, NUMBERS, PERCENT, SCALES, UNITS
from stillroom.traces.answers.wording import CJK

MAX_SENTENCE = 400
"""Characters of a sentence that is looked at."""
LEAST = 3
"""Words of a sentence that may state something."""
MAX_PROMPT = 4_000
"""Characters of a prompt, from its end, whose numbers are known."""
_READ = yaml.safe_load((files("stillroom.traces.answers") / "languages.yaml").read_text(encoding="utf-8"))[
    "statements"
]
_MARKUP = re.compile(r"</?[a-z]+(?: [^<>]{0,200})?>|\*\*|__|`|^[\s>#*•-]+(?=\S)|\\[()\[\]]")
_NUMBER = (
    r"(?:[-−+]\s?)?(?:[$€£¥₹]\s?)?(?:[-−]\s?)?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?(?:\s?/\s?[0-9]+)?"
    r"(?:\s?\\?%)?"
)
_SPAN = r"\$(?=[^\s$])(?:[^$\n]{0,80}[^\s$])?\$(?![0-9])"
_VALUE = re.compile(
    rf"{_SPAN}|-?\\[dt]?frac\{{[0-9]+\}}\{{[0-9]+\}}|(?<![A-Za-z0-9_.,/^\\{{]){_NUMBER}(?![A-Za-z0-9_^/\\{{])(?!\.[0-9])"
)
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_LETTER = re.compile(r"\(([A-Z])\)|(?<![\w(])([A-J])\)(?=\s?\S)|\b(?:[Oo]ption|[Cc]hoice)\s+([A-J])\b")
_COPULA = rf"(?:\b(?:is|are|was|were|be|equals?|gives|totals|{'|'.join(_READ['copulas'].split())})\b|[是为=])"
_ENDS = re.compile(
    rf"{_COPULA}[\s:]*(?:(?:equal to|approximately|about|exactly|only|just|simply|therefore|thus|a total of)\s+)*$"
)
_LABEL = re.compile(r"[A-Z][A-Za-z ]{2,40}:\s+\S+$")
_BEFORE = re.compile(
    r"(?:\b(?:than|least|most|over|under|above|below|nearly|almost|up to|close to|between|within|from|until|till"
    r"|half|every|step|question|problem|part|equation|case|page|line|number|out of|figure|example|and"
    r"|earlier|previous|given|not|(?:square|root|cube|multiple|factor|negative|double|opposite|reciprocal) of)"
    r"|[第约約半每<>≤≥~^*/×÷+])\s*\$?\s*$"
)
_REFUSING = re.compile(
    r"\b(?:"
    + "|".join(map(re.escape, _READ["refusing"].split()))
    + r")\b|n't\b|\blet(?! me\b| us\b|'s\b)\b|[?？]|times (?:the|as|that|more|larger)"
)
_ASIDE = re.compile(r"\bMay\b|\"[^\"]+ [^\"]+\"(?!\W*$)|`[^`]+ [^`]+`(?!\W*$)")
"""The month, and what is quoted: "the value of `True or False` is True" names one value."""
_NON = re.compile(r"(?i)\bnon-(?=[a-z]{4})")
"""A part of a word: non-decreasing sequences."""
_REFUSING_CLOSE = re.compile("|".join(map(re.escape, _READ["refusing_close"].split())))
_AS_ASKED = frozenset(_READ["as_asked"].split())
_CHANGING = (NO_UNITS | NUMBER_WORDS) - SCALES.keys() - frozenset(_READ["allowed"].split())
_POLITE = re.compile(
    r"(?i)^[\W_]*(?:i hope|hope (?:this|that)|let me know|if you (?:have|need|would)|please (?:let|note|feel)"
    r"|feel free|thank|good luck|happy to help|is there anything|would you like|do you (?:need|have))\b"
)
_SO = re.compile(rf"(?i)^\W*(?:{'|'.join(_READ['concluding'])})(?![a-z])")
_SENTENCE = re.compile(r"(?<=[\s\w)}\]$%*\"`])[.!]+(?=\*{0,2}\s+\S)|(?<=[。！।؟])\s*")
_TRUTH = re.compile(
    r"(?i)^\W*(yes|no|true|false)\b\**\s*(?:[,.:;!—–-]|\*\*)(?!.*\b(?:but|however|although|except|unless|if)\b)"
)
_SET = re.compile(r"\\(?:text|mathrm|boxed|begin)\b")
_SAYS_IT = re.compile(rf"\b(?:is|are|equals)\s*(?:{_VALUE.pattern})(?:\s[a-z]+)?[.!*]*$")
_SAID = re.compile(rf"{_COPULA}\s*(?:{_VALUE.pattern})")
_COSTS = re.compile(
    r"\b(?:needs?|needed|requires?|required|costs?|takes?|took|pays?|paid|spends?|spent|charges?|charged|earns?|earned)\s+$"
)
_TO_DO = re.compile(rf"\s*to\s(?!(?:{'|'.join(sorted(NUMBER_WORDS | NO_UNITS))})\b)[a-z]{{2,}}\s")
"""To do something, and not up to a number: "Luca needs $1.45 to buy …"."""
_BEHIND = re.compile(r"\s*(?:or|to|through|[万萬千百亿億兆余餘多半만억천백]|[-–<>≤≥^*/×÷])")
_IS_BEST = re.compile(
    r"\S{0,3}[^.]{0,60}?\b(?:is|are|seems|would be)\s(?:the\s)?(?:\w+\s)?"
    r"(?:best|correct|right|answer|true|likely|appropriate)\b"
)
_EQUATION = re.compile(
    r"(?:[-+*/^]\s*|[)\]}]\s*|[-+*/^]\s*[0-9.]*[a-zA-Z]\w*\s*)=\s*$|[a-zA-Z]\s*[-+*/^]\s*[0-9.]+\s*=\s*$|\b(?:for)?all\b"
)
_CHAIN = re.compile(r"([-+0-9$.,()*/×÷ ]*[0-9)]\s*)=\s*$")


def plain(sentence: str) -> bool:
    """Whether a sentence says what it says: nothing in it is denied, doubted, or left open."""
    said = _NON.sub(" ", _ASIDE.sub(" ", sentence))
    return not (_REFUSING.search(said.lower()) or _REFUSING_CLOSE.search(said))


class Stated(NamedTuple):
    """What a sentence states. `noun`: the word behind the value unless that is a unit that is known."""

    value: str
    noun: str = ""

    def fits(self, gold: str) -> bool:
        """Whether the noun may stand behind the value of this gold: 4000 bananas are not 4000 ml."""
        return not self.noun or not re.search(r"[^\W\d_]", gold) or self.noun[:4] in gold.lower()


class _Token(NamedTuple):
    """A value in a sentence: where it stands, and how it is written."""

    start: int
    end: int
    text: str


def stated(sentence: str, prompt: str = "") -> Stated | None:
    """What a sentence states, or None if that is not plain. `prompt`: what was asked."""
    if len(sentence) > MAX_SENTENCE or not _WORD.search(sentence) or _SET.search(sentence):
        return None
    if (truth := _TRUTH.match(sentence)) is not None:
        return Stated(truth[1])
    bare = _MARKUP.sub("", sentence.replace("\\$", "$")).strip().rstrip(".,!。।* ")
    if re.fullmatch(r"(?i)(?:there (?:are|is) )?none", bare) and "how many" in prompt.lower():
        return Stated("0")
    said = re.sub(r"\\[a-zA-Z]+", " ", bare).lower()
    words = [word for word in _WORD.findall(said) if len(word) > 1 or not word.isascii()]
    if not plain(bare):
        return None
    if not (_AS_ASKED & set(words)) <= set(_WORD.findall(prompt[-MAX_PROMPT:].lower())):
        return None
    if letters := list(_LETTER.finditer(bare)):
        return _choice(letters, bare)
    if (found := _value(bare, words, prompt)) is not None:
        return found
    shown = re.findall(r"\*\*([^*\n]{1,60})\*\*|`([^`\n]{1,60})`", sentence)
    inner = (shown[0][0] or shown[0][1]).strip(" .:") if len(shown) == 1 else ""
    ends = inner and bare.endswith(inner) and _ENDS.search(bare[: -len(inner)])
    return Stated(inner) if ends else None  # The argument is **valid**.


def two_between(sentence: str, prompt: str) -> str:
    """The two numbers between which something is, where the prompt asks for two and the sentence has no others; else
    ""."""
    found = list(_TWO_BETWEEN.finditer(sentence))
    if len(found) != 1 or _APART.search(sentence.lower()) or not _ASKS_FOR_TWO.search(prompt[-MAX_PROMPT:].lower()):
        return ""
    rest = sentence[: found[0].start()] + sentence[found[0].end() :]
    words = set(_WORD.findall(rest.lower()))
    return (
        f"{found[0][1]}, {found[0][2]}" if not (re.search(r"\d", rest) or words & (_CHANGING | SCALES.keys())) else ""
    )


_TWO_BETWEEN = re.compile(
    r"\bbetween (?:the years )?(-?[0-9]+(?:\.[0-9]+)?) and (-?[0-9]+(?:\.[0-9]+)?)(?![\w%]|\.\d)"
)
_APART = re.compile(r"\b(?:difference|distance|gap|ratio|average|mean|midpoint|halfway|midway|change)\b")
_ASKS_FOR_TWO = re.compile(
    r"\bbetween (?:which|what) (?:two|2)\b|\b(?:which|what) (?:two|2)\b[^.?!]{0,60}\bbetween\b"
)


def _choice(letters: list[re.Match[str]], plain: str) -> Stated | None:
    """The one choice that a sentence names."""
    named = {next(filter(None, match.groups())) for match in letters}
    other = set(re.findall(r"(?<![\w'])(?:[B-J]|A(?! [a-z]))(?![\w'])", plain)) - named
    first = letters[0].start() == 0
    if len(named) != 1 or other or (first and not _IS_BEST.match(plain, letters[0].end())):
        return None
    if not first and len(_WORD.findall(plain)) < LEAST:
        return None
    return Stated(f"({named.pop()})")


def _value(plain: str, words: list[str], prompt: str) -> Stated | None:
    """The value of a sentence: its last where it ends with "is 4", the only one, or the only one that is new."""
    tokens = [_Token(m.start(), m.end(), m.group().strip()) for m in _VALUE.finditer(plain) if re.search(r"\d", m[0])]
    if not tokens:
        return None
    short = len(words) < LEAST - (tokens[0].start > 0)
    if short and not (plain[0] == "=" or _SO.match(plain) or _LABEL.match(plain)):
        return None
    last = tokens[-1]
    ends = _ENDS.search(plain, 0, last.start) is not None and len(_WORD.findall(plain[last.end :])) <= LEAST
    if any(word in _CHANGING and not (ends and word in NUMBERS) for word in words):
        return None
    if not ends:
        known = set(map(_bare, _VALUE.findall(prompt[-MAX_PROMPT:]))) if len(tokens) > 1 else set()
        new = [token for token in tokens if _bare(token.text) not in known]
        if prompt and not _asked(plain, prompt, 1) and not _CHAIN.search(plain[: tokens[-1].start]):
            return None  # it speaks of something else
        if len({_bare(token.text) for token in new}) != 1 or (tokens[0].start == 0 and len(words) <= LEAST):
            return None
        last = new[-1]
    elif len(_SAID.findall(plain)) > 1 and "=" not in plain:
        return None  # x is 3 and y is 4
    before, behind = plain[: last.start], plain[last.end :]
    beyond = _BEHIND.match(behind) and not (_COSTS.search(before) and _TO_DO.match(behind))
    if _BEFORE.search(before.lower()) or beyond or _EQUATION.search(before):
        return None
    chain = _CHAIN.search(before)
    if chain is not None and re.search(r"\d\s*[-+*/×÷]\s*\S", chain[1]):
        left = chain[1].strip()
        if left[0] in "*/×÷+-" and plain[: chain.start()].strip():
            return None  # 4 pages + 5 = 9: the sum is not whole
        return Stated(f"{re.sub(r'[$,]', '', left)} = {re.sub(r'[$,]', '', last.text)}")
    unit = _unit(behind)
    noun = _WORD.match(behind.lstrip()) if not unit else None
    value = last.text[1:-1] if last.text[0] == last.text[-1] == "$" else last.text
    return Stated(value + unit, noun[0].lower() if noun is not None and len(noun[0]) > 2 else "")


def _bare(text: str) -> str:
    """A number as it is compared with those of a prompt."""
    return re.sub(r"[\s,$€£¥₹%\\+]", "", text).rstrip(".")


def _unit(behind: str) -> str:
    """The unit behind a value, where the next words are one: a scale, a percentage, what can be converted."""
    kept: list[str] = []
    for word in re.findall(r"[^\s]+", behind[:60])[:3]:
        bare = word.strip(".,;:!)").lower()
        if bare in SCALES or bare in PERCENT or (bare in UNITS and bare not in FILLERS):
            kept.append(bare)
        else:
            break
        if word[-1] in ".,;:!)":
            break
    return "".join(f" {word}" for word in kept)


def concluding(text: str, prompt: str = "") -> str | None:
    """The sentence with which a text ends that marks no answer, or None where it does not seem to conclude anything.

    Without a word such as "so", the sentence must share words with the question, or end a calculation.
    """
    lines = [line.strip() for line in text.rstrip().split("\n") if line.strip(" *_#`-")]
    while lines and _POLITE.match(lines[-1]):
        lines.pop()
    if not lines or len(lines[-1]) > 4 * MAX_SENTENCE:
        return None
    sentences = [part.strip() for part in _SENTENCE.split(lines[-1]) if part and part.strip(" .*_")]
    while len(sentences) > 1 and _POLITE.match(sentences[-1]):
        sentences.pop()
    if not sentences or re.search(r"[?？:：,;]\W*$", sentences[-1]):
        return None
    said = sentences[-1]
    if len(lines) > 1 and lines[-2].endswith(":") and re.match(r"\**\(?[A-Z]\)\s?\S", said) and len(sentences) == 1:
        return f"The answer is {said}"  # … the correct answer is:  (D) a dog
    if _SO.match(said) or re.search(r"=\s*\$?[-0-9]", said) or _SAYS_IT.search(said) or _asked(said, prompt):
        return said
    return None


def _asked(sentence: str, prompt: str, least: int = 2) -> bool:
    """Whether a sentence has words of more than three letters of the prompt: of its question, or of all of it where
    one will do."""
    prompt = prompt[-MAX_PROMPT:]
    asked = prompt if least == 1 else " ".join(re.findall(r"[^.!?。？\n]+[?？]|[^.!?。？\n]+$", prompt)[-2:])
    ours, theirs = (
        {part for word in _WORD.findall(text.lower()) if len(word) > 3 for part in _stems(word)}
        for text in (sentence, asked)
    )
    return len(ours & theirs) >= least


def _stems(word: str) -> list[str]:
    """What is compared of a word: its beginning; of one in a script that sets no spaces, each three signs."""
    return [word[k : k + 3] for k in range(len(word) - 2)] if re.match(CJK, word) else [word[:5]]
