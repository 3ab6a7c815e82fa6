"""A judge of a house style by rule: plain words, short sentences, no filler, and an answer to what was asked.

It asks nobody and loads no model. Each rule gives 0 (against the style) to 1 (as the style wants it); the score is
their weighted mean on the scale 1 to 5. Rates decide, not counts (but for answers past 200 words), and most are mixed
with what usual text has (`usual`), so that a short answer is not judged by chance. It is not free of length: among
1,006 real answers of 8 to 200 words the score correlates with the log of their length at -0.27 (95 % interval -0.33
to -0.21), and at -0.17 without the rule against loops, so pairs and results need a control of length all the same.

    judge = StyleJudge()
    rating = await judge.rate(task, attempt)
    rating.score, rating.ratings["short_sentences"]

What it can show: that a text keeps to the surface of this style, and whether a student moved towards it. What it
cannot show: that a text is true, useful, well thought or well liked. Whether the task was answered it tells by
proxies alone (some of the task's words, no echo of the prompt, no loop, an end), which a fluent wrong answer passes
and a right one in other words fails; "Mr." ends a sentence; its word list knows English only. A student can please
it with short empty sentences about the topic: read what it writes, and let a judge of another kind look too.

A rule sees `Seen`: the answer and the words of its task. Sources, where a rule has one:

    plain_words       long words are those over six letters: the LIX formula (Björnsson 1968, Läsbarhet)
    short_sentences   15 to 20 words on average: Cutts (2020), Oxford Guide to Plain English, 5th ed., chapter 1
    no_repetition     n-grams that come again: Holtzman et al. (2020), arXiv:1904.09751, on degenerate text

The others, and where each ramp begins and ends, are our own choice. The word lists are in `style_words.yaml`.

>>> plain_words(see("Use the short word.", ""))
0.9625
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from math import inf
from types import MappingProxyType
from typing import Literal, NamedTuple

import yaml
from pydantic import Field

from stillroom.common.hashing import digest
from stillroom.common.records import Attempt, Task
from stillroom.common.text import Prose, prose, ramp
from stillroom.errors import InputError
from stillroom.judges.records import JudgeState, Rating
from stillroom.judges.registry import JudgeBase, Made, Place, judges

VERSION = 1
SCALE = (1.0, 5.0)
LONG_WORD = 7  # letters, from
NEAR = 50  # words within which a run of words comes again
STEM = 5  # letters that stand for a word: "visiting" and "visit" are one
RUNAWAY = (400, 200)  # words at which an answer is worth nothing for its end, and up to which it loses nothing


class WordLists(NamedTuple):
    """What `style_words.yaml` holds; each phrase as its words."""

    fillers: frozenset[tuple[str, ...]]
    openers: frozenset[tuple[str, ...]]
    stop_words: frozenset[str]


@cache
def word_lists() -> WordLists:
    """The word lists, read once: only those who rate by style wait for the file."""
    lists = yaml.safe_load((files("stillroom.judges") / "style_words.yaml").read_text(encoding="utf-8"))
    phrases = {name: frozenset(tuple(line.split()) for line in lists[name]) for name in lists if name != "stop_words"}
    fillers = phrases["padding"] | phrases["intensifiers"] | phrases["inflated"]
    return WordLists(fillers, phrases["openers"], frozenset(lists["stop_words"].split()))


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
    """Share of words in fillers (see `style_words.yaml`): full marks up to half a percent, none from 6 %."""
    found, lists = seen.answer.words, word_lists()
    # Words of the opener that the answer begins with, and those in fillers: the longest filler at a place counts.
    fillers = max((len(opener) for opener in lists.openers if tuple(found[: len(opener)]) == opener), default=0)
    place, longest = 0, max(map(len, lists.fillers))
    while place < len(found):
        size = next((n for n in range(longest, 0, -1) if tuple(found[place : place + n]) in lists.fillers), 0)
        fillers += size
        place += size or 1
    return ramp(_mixed(fillers, len(found), usual=0.015, weight=20), 0.06, 0.005)


def calm(seen: Seen) -> float:
    """Share of sentences that shout (an exclamation mark): full marks for none, no marks from half of them."""
    shouts = seen.answer.text.count("!")
    return ramp(_mixed(shouts, len(seen.answer.sentences), usual=0.0, weight=1), 0.5, 0.0)


def on_topic(seen: Seen) -> float:
    """Share of the answer's content words that the task has too: full marks from 18 %, none at 0.

    A proxy for answering what was asked; an answer in other words loses here.
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
    given, found = set(_grams(seen.task, 5)), seen.answer.words
    inside = until = 0  # words that lie in one of the runs, and where the last of these ends
    for i, gram in enumerate(_grams(found, 5)):
        if gram in given:
            inside += i + 5 - max(i, until)
            until = i + 5
    return ramp(inside / len(found) if found else 0.0, 1.0, 0.5)


def no_repetition(seen: Seen) -> float:
    """Share of runs of four words that came in the fifty words before too: full marks up to 3 %, none from 30 %.

    Fifty, because in a long text a phrase may come back, and length alone is not a fault.
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


RULES: Mapping[str, tuple[Callable[[Seen], float], float]] = MappingProxyType(
    {
        "plain_words": (plain_words, 3),
        "short_sentences": (short_sentences, 3),
        "no_filler": (no_filler, 3),
        "calm": (calm, 1),
        "on_topic": (on_topic, 3),
        "no_echo": (no_echo, 1),
        "no_repetition": (no_repetition, 4),
        "finished": (finished, 1),
    }
)
"""The rules, and the weight of each in the score unless the user says otherwise."""


class StyleJudge:
    """Rates by the rules of the house style; a `PointwiseJudge` without a model.

    `weights`: by rule, in the place of the shipped ones; a rule that is not named keeps its weight, 0 turns it off.
    Raises InputError for an unknown rule, a negative weight, or nothing but zeros.
    """

    scale = SCALE

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        given = dict(weights or {})
        if unknown := sorted(given.keys() - RULES.keys()):
            raise InputError(f"there is no style rule {unknown[0]!r}: there are {', '.join(RULES)}")
        self._weights = {name: float(given.get(name, usual)) for name, (_, usual) in RULES.items()}
        if not (all(0 <= weight < inf for weight in self._weights.values()) and any(self._weights.values())):
            raise InputError(
                f"the style rules have the weights {self._weights}: give weights from 0 up, at least one above 0"
            )

    @property
    def identity(self) -> str:
        return f"style:{VERSION}:{digest(self._weights, 8)}"

    async def rate(self, task: Task, answer: Attempt) -> Rating:
        """The rating, without a request; an answer without a word gets the lowest of all."""
        asked = "\n".join(message.content for message in task.messages)
        return self.rate_text(asked, answer.text, cut=answer.finish_reason == "length")

    def rate_text(self, task: str, answer: str, *, cut: bool = False) -> Rating:
        """The rating of a text as an answer to `task`. `cut`: it ended for want of room."""
        seen = see(answer, task, cut)
        if not seen.answer.sentences:
            return Rating(JudgeState.OK, SCALE[0], dict.fromkeys(RULES, 0.0), calls=0, detail="no word in it")
        ratings = {name: rule(seen) for name, (rule, _) in RULES.items()}
        share = sum(self._weights[name] * value for name, value in ratings.items()) / sum(self._weights.values())
        return Rating(JudgeState.OK, SCALE[0] + share * (SCALE[1] - SCALE[0]), ratings, calls=0)

    async def close(self) -> None:
        """Has nothing to free."""


def _mixed(count: float, of: int, *, usual: float, weight: float) -> float:
    """The rate count / of, as if `weight` more had been seen at the usual rate."""
    return (count + usual * weight) / (of + weight)


def _stems(found: Iterable[str]) -> Iterable[str]:
    stop_words = word_lists().stop_words
    return (word[:STEM] for word in found if len(word) > 3 and word not in stop_words)


def _grams(found: Sequence[str], n: int) -> Iterable[tuple[str, ...]]:
    return (tuple(found[i : i + n]) for i in range(len(found) - n + 1))


@judges.register
class StyleJudgeSettings(JudgeBase):
    """A house style by rules, without a model."""

    kind: Literal["style"]
    weights: dict[str, float] = Field(default_factory=dict)
    """Weights by rule, in place of the shipped ones; 0 turns a rule off."""

    def make(self, place: Place) -> Made:
        return Made(StyleJudge(self.weights or None), None)
