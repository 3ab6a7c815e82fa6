r"""Layouts of answers with scores: `helpsteer` (1, 2 and 3), `nectar`, `kto`, `scores`.

    {"prompt": "2 + 2?", "response": "4", "helpfulness": 4, "correctness": 4, …}                     helpsteer 1, 2
    {"context": […], "response1": "4", "response2": "5", "overall_preference": -2}                   helpsteer 3
    {"prompt": "\n\nHuman: 2 + 2?\n\nAssistant: ", "answers": [{"answer": "4", "rank": 1}, …]}        nectar
    {"prompt": "2 + 2?", "completion": "4", "label": true}                                           kto
    {"prompt": "2 + 2?", "response": "4", "score": 0.9}, or "responses" and "scores" as lists        scores

Where a row holds one answer, the rows of one prompt are put together; they need not follow each other. A preference
of HelpSteer 3 is below 0 where the first response is better. Fields as in
https://huggingface.co/datasets/nvidia/HelpSteer2, nvidia/HelpSteer3, berkeley-nest/Nectar and trl's unpaired
preferences (https://huggingface.co/docs/trl).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from stillroom.common.fields import found_at, has_field, no_field
from stillroom.common.preferred.base import (
    MODELS,
    PROMPTS,
    Answer,
    Flaw,
    Layout,
    Preferred,
    RowFault,
    Values,
    Winner,
    differing,
    ended_by_user,
    first_of,
    id_of,
    layouts,
    needed,
    number_in,
    prompt_at,
    rest_of,
    score_at,
    shown,
    text_at,
)
from stillroom.common.preferred.chosen import layouts_prefer
from stillroom.common.preferred.transcripts import is_transcript, transcript, with_extra_marks
from stillroom.common.preferred.winners import of_sign
from stillroom.common.records import Messages
from stillroom.common.turns import are_turns, turns_in
from stillroom.errors import InputError

_ANSWERS = ("response", "completion", "answer", "output", "text", "generation", "candidate")
_SCORES = (
    "score",
    "rating",
    "reward",
    "overall_score",
    "overall_rating",
    "quality",
    "grade",
    "points",
    "rm_score",
    "mean_score",
)
_LISTS = ("responses", "completions", "answers", "outputs", "generations", "candidates")
_SCORE_LISTS = ("scores", "ratings", "rewards", "ranks", "rating", "score", "grades")
NAMES = (*_ANSWERS, *_SCORES, "label")
"""Names of fields that a table may spell in its own way."""
_ASPECTS = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


_SIGNED = (("response1", "response2", "overall_preference"), ("response_1", "response_2", "preference_strength"))
"""The answers of HelpSteer 3, and of the preferences of HelpSteer 2, with what says which is better."""


@layouts.register(name="helpsteer")
class HelpSteer(Layout):
    """HelpSteer 1 and 2: an answer with five ratings; HelpSteer 3 (and 2's preferences): two answers with a sign."""

    about = "`prompt`, `response`, `helpfulness`, …, or `response1`, `response2`, `overall_preference`"
    grouped = True

    def fits(self, values: Values) -> bool:
        if any(a in values and said in values for a, _, said in _SIGNED):
            return True
        return "prompt" in values and "response" in values and sum(name in values for name in _ASPECTS) > 1

    def read(self, values: Values, prefer: str | None) -> Preferred:
        if (
            signed := next((names for names in _SIGNED if names[0] in values or names[1] in values), None)
        ) is not None:
            return self._signed(values, *signed)
        aspect = prefer or _ASPECTS[0]
        if aspect not in _ASPECTS:
            raise InputError(layouts_prefer("helpsteer", aspect, _ASPECTS))
        prompt = ended_by_user(with_extra_marks(text_at(values, "prompt")), "prompt")
        answer = Answer(text_at(values, "response"), score_at(values, aspect))
        return Preferred(prompt, (answer,), rest=rest_of(values, "prompt", "response", *_ASPECTS))

    def _signed(self, values: Values, one: str, two: str, said: str) -> Preferred:
        """Two answers and a preference from -3, the first is much better, to 3."""
        asked = needed(values, "context", "prompt")
        turns = found_at(values, asked)
        prompt = prompt_at(values, asked) if isinstance(turns, list) else with_extra_marks(text_at(values, asked))
        preference = score_at(values, said)
        a, b = (Answer(text_at(values, name)) for name in (one, two))
        votes: tuple[Winner, ...] = ()
        people = values.get("individual_preference")
        if isinstance(people, list) and len(people) > 1:
            scores = [number_in(found_at(each, "score")) for each in people if isinstance(each, Mapping)]
            votes = tuple(of_sign(score) for score in scores if score is not None)
        used = (asked, one, two, said, "individual_preference")
        return Preferred(
            ended_by_user(prompt, asked),
            differing(a, b),
            of_sign(preference),
            votes,
            id_of(values),
            rest_of(values, *used),
        )


@layouts.register(name="nectar")
class Nectar(Layout):
    """Answers with ranks, 1 for the best."""

    about = "`answers` with `answer` and `rank`, 1 for the best"
    judged_by = "GPT-4"

    def fits(self, values: Values) -> bool:
        answers = values.get("answers")
        return (
            isinstance(answers, list)
            and bool(answers)
            and all(isinstance(each, Mapping) and "rank" in each and "answer" in each for each in answers)
        )

    def read(self, values: Values, prefer: str | None) -> Preferred:
        answers = values[needed(values, "answers")]
        if not isinstance(answers, list) or not answers or not all(isinstance(each, Mapping) for each in answers):
            raise RowFault(Flaw.WRONG_TYPE, f"the field 'answers' is not a list of answers: {shown(answers)}")
        found = tuple(
            Answer(text_at(each, "answer"), -score_at(each, "rank"), str(each.get("model") or "")) for each in answers
        )
        return Preferred(_asked(values, "prompt"), found, id=id_of(values), rest=rest_of(values, "prompt", "answers"))


def _asked(values: Values, *names: str) -> Messages:
    """A prompt, also one that is a transcript with the answer left open."""
    name = needed(values, *names)
    value = found_at(values, name)
    if not is_transcript(value):
        return prompt_at(values, name)
    turns = transcript(value)
    return ended_by_user(turns[:-1] if turns[-1].role == "assistant" and not turns[-1].content else turns, name)


@layouts.register(name="kto")
class Kto(Layout):
    """An answer, and whether it is wanted."""

    about = "`prompt`, `completion` and `label`, true where it is wanted"
    grouped = True

    def fits(self, values: Values) -> bool:
        label = values.get("label")
        said = isinstance(label, bool) or (isinstance(label, str) and label.casefold() in ("true", "false"))
        said = said or ("completion" in values and label in (0, 1, "0", "1"))
        return (
            said and first_of(values, *PROMPTS) is not None and first_of(values, "completion", "response") is not None
        )

    def read(self, values: Values, prefer: str | None) -> Preferred:
        asked, said = needed(values, *PROMPTS), needed(values, "completion", "response")
        label = values[needed(values, "label")]
        words = {"true": True, "false": False, "1": True, "0": False}
        wanted = label if isinstance(label, bool) else words.get(str(label).strip().casefold())
        if label is None or wanted is None:
            reason = Flaw.NO_LABEL if label is None else Flaw.UNKNOWN_LABEL
            raise RowFault(reason, f"the label is {shown(label)}, expected true or false")
        answer = Answer(_said(values, said), float(wanted), "")
        return Preferred(_asked(values, asked), (answer,), rest=rest_of(values, asked, said, "label"))


def _said(values: Values, name: str) -> str:
    """An answer, a text or one turn."""
    value = found_at(values, name)
    if are_turns(value) and len(value) == 1:
        return text_at({name: turns_in(value)[0].content}, name)
    return text_at(values, name)


@layouts.register(name="scores")
class Scores(Layout):
    """Answers with a score, one in a row or all in two lists."""

    about = "a prompt, a `response` and a `score` (`rating`, `reward`, …), or `responses` and `scores` as lists"
    grouped = True
    _OTHERS: ClassVar[tuple[type[Layout], ...]] = (HelpSteer, Nectar, Kto)

    def fits(self, values: Values) -> bool:
        if first_of(values, *PROMPTS) is None or any(other().fits(values) for other in self._OTHERS):
            return False
        if _list_names(values) is not None:
            return True
        score = first_of(values, *_SCORES)
        return (
            score is not None and number_in(found_at(values, score)) is not None and self._answer(values) is not None
        )

    def _answer(self, values: Values) -> str | None:
        return next((name for name in _ANSWERS if isinstance(values.get(name), str | list)), None)

    def read(self, values: Values, prefer: str | None) -> Preferred:
        asked, lists = needed(values, *PROMPTS), _list_names(values, prefer)
        prompt = _asked(values, asked)
        if lists is not None:
            texts, scores = values[lists[0]], values[lists[1]]
            if len(texts) != len(scores):
                raise RowFault(Flaw.WRONG_TYPE, f"{len(texts)} {lists[0]}, but {len(scores)} {lists[1]}")
            sign = -1.0 if lists[1] == "ranks" else 1.0
            rows = [{"answer": text, "score": score} for text, score in zip(texts, scores, strict=True)]
            found = tuple(Answer(text_at(row, "answer"), _listed_score(row, sign)) for row in rows)
            return Preferred(prompt, found, id=id_of(values), rest=rest_of(values, asked, *lists, "id"))
        if prefer is not None and not has_field(values, prefer):
            raise RowFault(Flaw.MISSING_FIELD, no_field(values, prefer))
        name = prefer or needed(values, *_SCORES)
        said = needed(values, *_ANSWERS)
        model = first_of(values, *MODELS)
        answer = Answer(_said(values, said), score_at(values, name), str(found_at(values, model or "") or ""))
        return Preferred(prompt, (answer,), rest=rest_of(values, asked, said, name, *MODELS))


def _listed_score(row: Values, sign: float) -> float | None:
    """A score of a list; None for an answer without. Raises RowFault for what is not a number."""
    return None if row["score"] is None else sign * score_at(row, "score")


def _list_names(values: Values, prefer: str | None = None) -> tuple[str, str] | None:
    """The lists of answers and of scores; None where the row has one answer."""
    texts = next((name for name in _LISTS if isinstance(values.get(name), list)), None)
    wanted = _SCORE_LISTS if prefer is None else (prefer,)
    scores = next((name for name in wanted if isinstance(values.get(name), list)), None)
    if texts is None or scores is None or not all(isinstance(each, str) for each in values[texts]):
        return None
    return texts, scores
