r"""`one_language`: a trace that changes to a script its prompt does not use.

Multilingual teachers slip into another language in the middle of a derivation. Counted are letters by Unicode script;
allowed are the scripts of the prompt (of a prompt without letters: the trace's main one). Spared are Greek letters
standing alone or in pairs (α, Δx), LaTeX and what stands between `$…$`, and short runs of Latin letters (x, ABCD, cm,
sin) under a prompt without Latin.

    filters: [one_language]
    filters: [{one_language: {max_share: 0.02}}]

It sees scripts, not languages: English turning to French stays unseen.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from stillroom.common.records import Task
from stillroom.common.text import excerpt
from stillroom.errors import MissingExtra
from stillroom.traces.filters.base import Check, Finding, Stateless, filters
from stillroom.traces.trace import Trace

_SCRIPTS = """
    Latin Greek Cyrillic Armenian Hebrew Arabic Syriac Thaana Devanagari Bengali Gurmukhi Gujarati Oriya Tamil Telugu
    Kannada Malayalam Sinhala Thai Lao Tibetan Myanmar Georgian Hangul Ethiopic Cherokee Khmer Mongolian Hiragana
    Katakana Bopomofo Han
"""  # told apart; letters of any other are counted as "other"

# Japanese is written in all three: a prompt in one of the kana allows the others.
_JAPANESE = frozenset({"Han", "Hiragana", "Katakana"})
_SPARED = {"Latin": 4, "Greek": 2}  # letters of a run that a formula may be made of


@filters.register
class OneLanguage(Stateless):
    """Drops traces that change script. Reason: other_script."""

    name: Literal["one_language"] = "one_language"
    short: ClassVar[str | None] = "max_share"
    max_share: float = Field(default=0.005, ge=0, lt=1)
    """Share of letters that may be of scripts not in the prompt."""

    def start(self, test: Sequence[Task]) -> Check:
        """Raises MissingExtra where the package regex is not installed."""
        _formula_and_letters()
        return self.check

    def check(self, trace: Trace) -> Finding | None:
        runs = _runs(trace.full_text)
        letters: Counter[str] = Counter()
        for script, run in runs:
            letters[script] += len(run)
        prompt = " ".join(message.content for message in trace.task.messages)
        allowed = {script for script, _ in _runs(prompt)}
        if allowed & {"Hiragana", "Katakana"}:
            allowed |= _JAPANESE
        if not allowed:  # a prompt without letters ("2 + 2 = ?"): the trace's own main script
            allowed = {script for script, _ in letters.most_common(1)}
        foreign = [
            (script, run) for script, run in runs if script not in allowed and len(run) > _SPARED.get(script, 0)
        ]
        count = sum(len(run) for _, run in foreign)
        if count <= self.max_share * letters.total():
            return None
        names = ", ".join(script for script, _ in Counter(script for script, _ in foreign).most_common(3))
        words = excerpt(" ".join(run for _, run in foreign[:8]))
        detail = f"{count:,} of {letters.total():,} letters are {names}, which the prompt does not use: {words}"
        return Finding("other_script", detail)


def _runs(text: str) -> list[tuple[str, str]]:
    """The text's letters outside formulas, in runs of one script."""
    formula, letters = _formula_and_letters()
    return [(match.lastgroup or "other", match.group()) for match in letters.finditer(formula.sub(" ", text))]


@functools.cache
def _formula_and_letters() -> tuple[Any, Any]:
    """Patterns of what is a formula, and of a run of letters of one script, in a group of its name."""
    try:
        import regex
    except ImportError as error:
        raise MissingExtra("the filter one_language", "regex", "train") from error
    scripts = "|".join(rf"(?P<{name}>(?:(?=\p{{L}})\p{{Script={name}}})+)" for name in _SCRIPTS.split())
    # Letters that all scripts share (𝑥, ℝ, the sign of prolonged sound) are nobody's.
    others = r"(?P<other>[\p{L}--[\p{Common}\p{Inherited}]])"
    formula = regex.compile(r"\$[^$\n]{1,400}\$|\\\([^\n]{1,400}?\\\)|\\[A-Za-z]+")
    return formula, regex.compile(f"{scripts}|{others}", flags=regex.VERSION1)
