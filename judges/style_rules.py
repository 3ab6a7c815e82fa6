"""The rules of the house style: each looks at one thing and gives 0 (against the style) to 1 (as it wants it).

A rule sees `Seen`: the answer and the words of its task. `usual` values are what a rate is mixed with, so that short
answers are not judged by chance. Sources, where a rule has one:

    plain_words       long words are those over six letters: the LIX formula (Björnsson 1968, Läsbarhet)
    short_sentences   15 to 20 words on average: Cutts (2020), Oxford Guide to Plain English, 5th ed., chapter 1
    no_repetition     n-grams that come again: Holtzman et al. (2020), arXiv:1904.09751, on degenerate text

The others, and where each ramp begins and ends, are our own choice.

>>> plain_words(see("Use the short word.", ""))
1.0
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from stillroom.judges.prose import Prose, prose, ramp
from stillroom.judges.style_words import FILLERS, LONGEST_FILLER, OPENERS, STOP_WORDS

LONG_WORD = 7  # letters, from
NEAR = 50  # words within which a run of words comes again
STEM = 5  # letters that stand for a word: "visiting" and "visit" are one
RUNAWAY = (400, 200)  # words at which an answer is worth nothing for its end, and up to which it loses nothing


class Seen(NamedTuple):
    """What a rule looks at. `task`: the words of its messages; `cut`: the answer ended for want of room."""

    answer: Prose
    task: tuple[str, ...]
    cut: bool = False


def see(answer: str, task: str, cut: bool = False) -> Seen:
    """Takes an answer and its task apart."""
    return Seen(prose(answer), prose(task).words, cut)


def plain_words(seen: Seen) -> float:
    """Share of words of seven letters or more: full marks up to 18 %, none from 38 %."""
    found = seen.answer.words
    share = _mixed(sum(len(word) >= LONG_WORD for word in found), len(found), usual=0.25, weight=12)
    return ramp(share, 0.38, 0.18)


def short_sentences(seen: Seen) -> float:
    """Words per sentence on average: full marks up to 11, none from 26."""
    found = seen.answer.sentences
    return ramp(_mixed(sum(map(len, found)), len(found), usual=16, weight=1), 26, 11)


def no_filler(seen: Seen) -> float:
    """Share of words in fillers (see `style_words`): full marks up to half a percent, none from 6 %."""
    found = seen.answer.words
    fillers = _covered(found, FILLERS, LONGEST_FILLER) + _opening(found)
    return ramp(_mixed(fillers, len(found), usual=0.015, weight=20), 0.06, 0.005)


def calm(seen: Seen) -> float:
    """Share of sentences that shout (an exclamation mark): full marks for none, no marks from half of them."""
    shouts = seen.answer.text.count("!")
    return ramp(_mixed(shouts, len(seen.answer.sentences), usual=0.0, weight=1), 0.5, 0.0)


def on_topic(seen: Seen) -> float:
    """Share of the answer's content words that the task has too: full marks from 18 %, none at 0.

    A proxy for answering what was asked; an answer in words of its own loses here.
    """
    wanted = set(_stems(seen.task))
    if not wanted:
        return 1.0
    found = set(_stems(seen.answer.words))
    return ramp(_mixed(len(found & wanted), len(found), usual=0.1, weight=5), 0.0, 0.18)


def no_echo(seen: Seen) -> float:
    """Share of the answer that copies five words or more in a row from the task: full marks up to half, none for all.

    Half, because a corrected or shortened text keeps much of the one that was given.
    """
    return ramp(_copied(seen.answer.words, set(_grams(seen.task, 5)), 5), 1.0, 0.5)


def no_repetition(seen: Seen) -> float:
    """Share of runs of four words that came in the fifty words before too: full marks up to 3 %, none from 30 %.

    Fifty, because in a long text a phrase may come back, and length alone is no fault.
    """
    grams, last, again = list(_grams(seen.answer.words, 4)), dict[tuple[str, ...], int](), 0
    for i, gram in enumerate(grams):
        again += i - last.get(gram, -NEAR - 1) <= NEAR
        last[gram] = i
    return ramp(again / max(1, len(grams)), 0.30, 0.03)


def finished(seen: Seen) -> float:
    """Whether it ends as a text ends: with a mark, or with a short line (a signature, an item of a list).

    None for an answer that was cut, and less the longer one runs on past 200 words.
    """
    text = seen.answer.text
    last_line = text[text.rfind("\n") + 1 :]
    ends = text.endswith((".", "!", "?", '"', ")", "]", "”", ":)")) or len(last_line.split()) <= 6
    return 0.0 if seen.cut or not ends else ramp(len(seen.answer.words), *RUNAWAY)


def _mixed(count: float, of: int, *, usual: float, weight: float) -> float:
    """The rate count / of, as if `weight` more had been seen at the usual rate."""
    return (count + usual * weight) / (of + weight)


def _covered(found: Sequence[str], phrases: frozenset[tuple[str, ...]], longest: int) -> int:
    """Words that lie in one of the phrases; the longest phrase at a place counts."""
    covered = place = 0
    while place < len(found):
        length = next((n for n in range(longest, 0, -1) if tuple(found[place : place + n]) in phrases), 0)
        covered += length
        place += length or 1
    return covered


def _opening(found: Sequence[str]) -> int:
    """Words of the opener that the answer begins with."""
    return max((len(opener) for opener in OPENERS if tuple(found[: len(opener)]) == opener), default=0)


def _stems(found: Iterable[str]) -> Iterable[str]:
    return (word[:STEM] for word in found if len(word) > 3 and word not in STOP_WORDS)


def _grams(found: Sequence[str], n: int) -> Iterable[tuple[str, ...]]:
    return (tuple(found[i : i + n]) for i in range(len(found) - n + 1))


def _copied(found: Sequence[str], grams: set[tuple[str, ...]], n: int) -> float:
    """Share of the words that lie in one of the n-grams."""
    inside, until = 0, 0
    for i, gram in enumerate(_grams(found, n)):
        if gram in grams:
            inside += i + n - max(i, until)
            until = i + n
    return inside / len(found) if found else 0.0
