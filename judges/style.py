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
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import Literal

from pydantic import Field

from stillroom.errors import InputError
from stillroom.judges import style_rules as rules
from stillroom.judges.records import JudgeState, Rating
from stillroom.judges.registry import JudgeBase, Made, Place, judges
from stillroom.sampling.hashing import digest
from stillroom.sampling.records import Attempt, Task

VERSION = 1
SCALE = (1.0, 5.0)
Rule = Callable[[rules.Seen], float]


@dataclass(frozen=True, slots=True)
class _Weighted:
    rule: Rule
    weight: float


RULES: Mapping[str, _Weighted] = MappingProxyType(
    {
        "plain_words": _Weighted(rules.plain_words, 3),
        "short_sentences": _Weighted(rules.short_sentences, 3),
        "no_filler": _Weighted(rules.no_filler, 3),
        "calm": _Weighted(rules.calm, 1),
        "on_topic": _Weighted(rules.on_topic, 3),
        "no_echo": _Weighted(rules.no_echo, 1),
        "no_repetition": _Weighted(rules.no_repetition, 4),
        "finished": _Weighted(rules.finished, 1),
    }
)
WEIGHTS: Mapping[str, float] = MappingProxyType({name: weighted.weight for name, weighted in RULES.items()})


class StyleJudge:
    """Rates by the rules of the house style; a `PointwiseJudge` without a model.

    `weights`: by rule, in the place of the shipped ones; a rule that is not named keeps its weight, 0 turns it off.
    Raises InputError for an unknown rule, a negative weight, or nothing but zeros.
    """

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        given = dict(weights or {})
        if unknown := sorted(given.keys() - RULES.keys()):
            raise InputError(f"there is no style rule {unknown[0]!r}: there are {', '.join(RULES)}")
        self._weights = {name: float(given.get(name, usual)) for name, usual in WEIGHTS.items()}
        if not (all(0 <= weight < inf for weight in self._weights.values()) and any(self._weights.values())):
            raise InputError(f"the style rules weigh {self._weights}: give weights from 0 up, at least one above 0")

    @property
    def identity(self) -> str:
        """Version and weights: what decides a rating."""
        return f"style:{VERSION}:{digest(self._weights, 8)}"

    @property
    def scale(self) -> tuple[float, float]:
        """The lowest and the highest score."""
        return SCALE

    async def rate(self, task: Task, answer: Attempt) -> Rating:
        """The rating, without a request; an answer without a word gets the lowest of all."""
        asked = "\n".join(message.content for message in task.messages)
        return self.rate_text(asked, answer.text, cut=answer.finish_reason == "length")

    def rate_text(self, task: str, answer: str, *, cut: bool = False) -> Rating:
        """The rating of a text as an answer to `task`. `cut`: it ended for want of room."""
        seen = rules.see(answer, task, cut)
        if not seen.answer.sentences:
            return Rating(JudgeState.OK, SCALE[0], dict.fromkeys(RULES, 0.0), calls=0, detail="no word in it")
        ratings = {name: weighted.rule(seen) for name, weighted in RULES.items()}
        share = sum(self._weights[name] * value for name, value in ratings.items()) / sum(self._weights.values())
        return Rating(JudgeState.OK, SCALE[0] + share * (SCALE[1] - SCALE[0]), ratings, calls=0)

    async def close(self) -> None:
        """Has nothing to free."""


@judges.register
class StyleJudgeSettings(JudgeBase):
    """A house style by rules, without a model. `weights`: by rule, in the place of the shipped ones; 0 turns one
    off."""

    kind: Literal["style"]
    weights: dict[str, float] = Field(default_factory=dict)

    def make(self, place: Place) -> Made:
        """As `JudgeBase.make`."""
        return Made(StyleJudge(self.weights or None), None)
