"""Does an answer repeat itself? Counted in runs of words, the same for every kind of text.

    most_repeated(words("so 1 + 1 = 2 so 1 + 1 = 2"), n=6)     # 2: "so 1 + 1 = 2" stands there twice
    distinct([words("a b c"), words("a b d")], n=2)            # 0.75: three of four pairs of words differ

This is a measure, the same for all models; what is left out of training is for the filter `no_repetition` to say,
which knows how arithmetic repeats. distinct-n is that of Li et al. 2016 (arXiv:1510.03055): it falls with the length
of a text, so compare it between answers of about the same length only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from stillroom.common.records import Attempt
from stillroom.common.text import tokens

RUN = 6
"""Words of a run, numbers and signs of arithmetic included."""
TIMES = 4
"""An answer repeats itself where one run stands there so often. Arithmetic does now and then: 1.4 % of the 2,640
solutions to GSM8K that OpenAI published with it do, so read this beside another model's, never against 0."""
DISTINCT = 4
"""Words of the runs that distinct-n counts."""
MAX_WORDS = 100_000
"""Words that are looked at: what repeats does so before."""


def answer_words(attempt: Attempt) -> list[str]:
    """Words, numbers and signs of all a model wrote, its reasoning first."""
    return tokens(f"{attempt.reasoning or ''}\n{attempt.text}")[:MAX_WORDS]


def repeats(words: Sequence[str], *, n: int = RUN, times: int = TIMES) -> bool:
    """Whether a run of n words stands there `times` times or more, in a row or not."""
    return most_repeated(words, n) >= times


def most_repeated(words: Sequence[str], n: int) -> int:
    """How often the commonest run of n words stands there; 0 in a text that is shorter."""
    return max(Counter(_runs(words, n)).values(), default=0)


def distinct(texts: Iterable[Sequence[str]], n: int) -> float | None:
    """Different runs of n words over all of them, for the texts together. None where none is so long."""
    runs = [run for words in texts for run in _runs(words, n)]
    return len(set(runs)) / len(runs) if runs else None


def _runs(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    if n < 1:
        raise ValueError(f"n is {n}: a run has at least one word")
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
