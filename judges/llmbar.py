"""Reads what the judges of LLMBar wrote: which of two outputs is better, or a score from 0 to 9.

LLMBar (Zeng et al. 2023, arXiv:2310.07641) asks for "Output (a)" or "Output (b)", alone or after an explanation that
ends in "Therefore, Output (a) is better.", and for an integer from 0 to 9 in its rating methods. Its own patterns
search the whole text for (a) before (b), so an explanation that begins a paragraph with "Output (a)", or reports what
another assistant argued, counts for (a). Here the last statement that the judge makes itself is its verdict.

What it refuses: a text that was cut off, one without a verdict, a rating off the scale or with other words about it.
Such a text is a failure, never a tie and never a loss.

>>> read_order("Output (b) is better.\\n\\nOutput (a) leaves out the date.", "stop").winner
'second'
>>> read_rating("10", "stop").detail
'the rating 10 is off the scale of 0 to 9'
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from stillroom.judges.records import JudgeState, OrderVerdict, Rating

PARSER = "llmbar-1"  # part of a judge's identity: raise it when a text could be read differently
SCALE = (0, 9)
_FILTERED = frozenset({"content_filter", "content management policy"})

_NAME = r"[\"'*]*output \((?P<{}>[ab])\)[\"'*]*"
# "is better", "is clearly the better choice"; the words between are listed: "is not better" is not among them.
_IS_BETTER = (
    _NAME.format("is")
    + r"(?: is| would be)(?: (?:the|a|an|much|far|clearly|slightly|overall|generally|therefore|indeed|also|still))*"
    r" better\b"
)
_BETTER_IS = r"\bbetter(?: (?:output|response|choice|option|answer|one))?(?: for [^.\n]{0,60}?)? is " + _NAME.format(
    "of"
)
_CHOOSES = r"\b(?:choose|select|prefer|pick) " + _NAME.format("takes")
# A line that is nothing but the answer, with at most a remark in brackets.
_ALONE = r"^[ \t]*" + _NAME.format("alone") + r"[ \t]*(?:\([^\n]*\))?\.?[ \t]*$"
_STATEMENT = re.compile("|".join((_IS_BETTER, _BETTER_IS, _CHOOSES, _ALONE)), re.IGNORECASE | re.MULTILINE)
_EQUAL = re.compile(
    r"\bneither (?:output|output \(a\) nor output \(b\)|of the(?: two)? outputs|one) is better\b"
    r"|\bboth (?:outputs|output \(a\) and output \(b\)) are equally (?:good|bad|helpful|accurate|correct|valid)\b",
    re.IGNORECASE,
)
# Not the judge's own verdict: what another assistant said, a question, the choice as the prompt words it.
_REPORTED = re.compile(
    r"\bassistant \([ab]\)(?:'s)? (?:\w+ )?"
    r"(?:argu|claim|believ|stat|suggest|say|said|conclu|evaluat|prefer|select|think)",
    re.IGNORECASE,
)
_AGREES = re.compile(r"\bI (?:\w+ )?agree\b", re.IGNORECASE)
_DENIED = re.compile(
    r"\bdisagree\b|(?:\bnot|\bcannot|n't) (?:\w+ )?(?:agree|believe|think|claim|say|conclude)\b", re.IGNORECASE
)
_ASKED = re.compile(r"\b(?:whether|if|which|either|or|nor)[\s\"',]*(?:therefore,? )?$", re.IGNORECASE)
_REFUSAL = re.compile(
    r"^\W*(?:I(?:'m| am) (?:sorry|unable|not able)|sorry\b|I (?:cannot|can't|can not|won't)\b)", re.IGNORECASE
)
_RATING = re.compile(
    r"\s*(?:(?:overall )?score(?: of the output)?(?: is)?:?\s*)?([0-9]{1,6})(?:\s*/\s*([0-9]{1,6}))?\.?\s*",
    re.IGNORECASE,
)


def read_order(text: str, finish: str) -> OrderVerdict:
    """What a judge said about (a), shown first, and (b), shown second. `finish`: why the text ended, or empty."""
    if (cut := _cut(text, finish)) is not None:
        return OrderVerdict(cut[0], None, text, cut[1])
    said = max(_statements(text), default=None)
    if said is None:
        state, detail = _nothing(text, "names neither output as the better one")
        return OrderVerdict(state, None, text, detail)
    if said[1] == "equal":
        return OrderVerdict(JudgeState.TIE, None, text)
    return OrderVerdict(JudgeState.OK, "first" if said[1] == "a" else "second", text)


def read_rating(text: str, finish: str) -> Rating:
    """A rating from 0 to 9, which must be all that the judge wrote. "8/10" is no 8: the scale ends at 9."""
    if (cut := _cut(text, finish)) is not None:
        return Rating(cut[0], None, text=text, detail=cut[1])
    found = _RATING.fullmatch(text)
    if found is None:
        state, detail = _nothing(text, "is not one integer")
        return Rating(state, None, text=text, detail=detail)
    score, out_of = int(found[1]), int(found[2] or SCALE[1])
    if out_of != SCALE[1] or not SCALE[0] <= score <= SCALE[1]:
        read = f"{score}/{out_of}" if found[2] else str(score)
        detail = f"the rating {read} is off the scale of {SCALE[0]} to {SCALE[1]}"
        return Rating(JudgeState.PARSE_FAILED, None, text=text, detail=detail)
    return Rating(JudgeState.OK, float(score), text=text)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Every verdict that the judge gives in its own name: where it stands, and "a", "b" or "equal"."""
    for found in _STATEMENT.finditer(text):
        if found["alone"] or _own(text, found.start()):
            which = next(name for name in found.groupdict().values() if name)
            yield found.start(), which.lower()
    for found in _EQUAL.finditer(text):
        yield found.start(), "equal"


def _own(text: str, start: int) -> bool:
    """Whether the statement that begins at `start` is the judge's: judged by its sentence up to there."""
    before = re.split(r"[.\n]", text[max(0, start - 400) : start])[-1]
    if _ASKED.search(before) or _DENIED.search(before):
        return False
    return _AGREES.search(before) is not None or _REPORTED.search(before) is None


def _cut(text: str, finish: str) -> tuple[JudgeState, str] | None:
    """The failure that the end of the text shows, whatever it says: more text could have taken a verdict back."""
    if finish in _FILTERED:
        return JudgeState.REFUSED, f"ended by the provider: {finish}"
    if finish == "length":
        return JudgeState.TRUNCATED, f"cut off at the length limit after {len(text)} characters"
    return None


def _nothing(text: str, why: str) -> tuple[JudgeState, str]:
    """The failure of a text without a verdict."""
    if not text.strip():
        return JudgeState.PARSE_FAILED, "the judge wrote nothing"
    state = JudgeState.REFUSED if _REFUSAL.match(text) else JudgeState.PARSE_FAILED
    return state, f"{text[:60]!r} {why}"
