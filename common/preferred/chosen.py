r"""Layouts of rows that say which answer was chosen: `pairs`, `hh_rlhf`, `implicit_prompt`, `ultrafeedback` (both).

    {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}                                        pairs
    {"chosen": "\n\nHuman: 2 + 2?\n\nAssistant: 4", "rejected": "\n\nHuman: 2 + 2?\n\nAssistant: 5"}      hh_rlhf
    {"chosen": [{"role": "user", …}, {"role": "assistant", …}], "rejected": […]}                implicit_prompt
    {"instruction": "2 + 2?", "completions": [{"response": "4", "overall_score": 9.0}, …]}      ultrafeedback
    {"input": {"messages": […]}, "preferred_output": […], "non_preferred_output": […]}         pairs (OpenAI)
    {"prompt": "2 + 2?", "chosen": […], "rejected": […], "score_chosen": 9.0, "score_rejected": 2.0}

Sides may be texts, conversations that begin with the prompt, or the last turn alone. Fields as in
https://huggingface.co/datasets/Anthropic/hh-rlhf, openbmb/UltraFeedback, HuggingFaceH4/ultrafeedback_binarized and
argilla/ultrafeedback-binarized-preferences, and trl's "implicit prompt" (https://huggingface.co/docs/trl).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from stillroom.common.fields import found_at
from stillroom.common.preferred.base import (
    PROMPTS,
    Answer,
    Flaw,
    Layout,
    Preferred,
    RowFault,
    Values,
    differing,
    ended_by_user,
    first_of,
    id_of,
    layouts,
    listed,
    needed,
    number_in,
    prompt_at,
    rest_of,
    shown,
    text_at,
    turns_at,
)
from stillroom.common.preferred.transcripts import Shared, is_transcript, shared_prompt, shared_text, transcript
from stillroom.common.records import Messages
from stillroom.common.turns import are_turns
from stillroom.errors import InputError

_CHOSEN = ("chosen", "chosen_response", "response_chosen", "preferred_output")
_REJECTED = ("rejected", "rejected_response", "response_rejected", "non_preferred_output")
NAMES = (*_CHOSEN, *_REJECTED)
"""Names of fields that a table may spell in its own way."""
_ASKED = (*PROMPTS, "conversations")
_SCORES = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_avg_rating", "rejected_avg_rating"),
    ("chosen_rating", "rejected_rating"),
    ("chosen-rating", "rejected-rating"),
)
_BINARIZED = ("score_chosen", "chosen_avg_rating", "chosen_rating", "chosen-rating")


def _sides(values: Values) -> tuple[str, str]:
    return needed(values, *_CHOSEN), needed(values, *_REJECTED)


def _has_sides(values: Values) -> bool:
    return first_of(values, *_CHOSEN) is not None and first_of(values, *_REJECTED) is not None


def _preferred(values: Values, found: Shared, *used: str) -> Preferred:
    """The row, with the scores of both sides if it has them."""
    names = next((pair for pair in _SCORES if all(name in values for name in pair)), None)
    scores = (None, None) if names is None else tuple(number_in(values[name]) for name in names)
    models = ("chosen_model", "rejected_model")
    a, b = (
        Answer(text, score, str(values.get(model) or ""))
        for text, score, model in zip((found.a, found.b), scores, models, strict=True)
    )
    rest = rest_of(values, *used, *(names or ()), *models, "id", "prompt_id", "messages", "system")
    return Preferred(found.prompt, differing(a, b), "a", id=id_of(values), rest=rest)


def _side(values: Values, name: str) -> Messages | str:
    """A side: turns, or a text. Raises RowFault."""
    value = listed(found_at(values, name), name)
    if isinstance(value, Mapping) and are_turns([value]):
        return turns_at({name: [value]}, name)
    return turns_at({name: value}, name) if isinstance(value, list) and are_turns(value) else text_at(values, name)


def _after(prompt: Messages, side: Messages | str, name: str) -> str:
    """The answer that a side holds: a text, one turn, or a conversation that begins with the prompt."""
    if isinstance(side, str):
        return side
    bare = tuple(turn for turn in prompt if turn.role != "system")
    turns = tuple(turn for turn in side if turn.role != "system")
    if len(turns) > 1 and turns[: len(bare)] != bare:
        raise RowFault(Flaw.NO_COMMON_PROMPT, f"the field {name!r} does not begin with the prompt")
    answer = turns[len(bare) :] if len(turns) > 1 else turns
    if len(answer) > 1:
        raise RowFault(Flaw.SEVERAL_TURNS, f"the field {name!r} goes on for {len(answer)} turns after the prompt")
    if not answer or answer[0].role != "assistant":
        raise RowFault(Flaw.WRONG_TYPE, f"the field {name!r} does not end with an answer")
    if not answer[0].content.strip():
        raise RowFault(Flaw.EMPTY_TEXT, f"the answer in {name!r} is empty")
    return answer[0].content


@layouts.register(name="pairs")
class Pairs(Layout):
    """A prompt, a chosen and a rejected answer."""

    about = "`prompt`, `chosen` and `rejected`"

    def fits(self, values: Values) -> bool:
        asked = first_of(values, *_ASKED)
        if asked is None or not _has_sides(values) or any(name in values for name in _BINARIZED):
            return False
        return not is_transcript(found_at(values, asked))

    def read(self, values: Values, prefer: str | None) -> Preferred:
        chosen, rejected = _sides(values)
        asked = needed(values, *_ASKED)
        prompt = prompt_at(values, asked)
        sides = (_after(prompt, _side(values, name), name) for name in (chosen, rejected))
        return _preferred(values, Shared(prompt, *sides), asked, chosen, rejected)


@layouts.register(name="hh_rlhf")
class HhRlhf(Layout):
    """Transcripts, as in HH-RLHF; the prompt is what both share, or stands in a field as a transcript, too."""

    about = "`chosen` and `rejected` as transcripts of Human and Assistant"

    def fits(self, values: Values) -> bool:
        asked = first_of(values, *_ASKED)
        if not _has_sides(values):
            return False
        if asked is not None:
            return is_transcript(found_at(values, asked))
        return all(is_transcript(found_at(values, name)) for name in _sides(values))

    def read(self, values: Values, prefer: str | None) -> Preferred:
        names = _sides(values)
        texts = [text_at(values, name) for name in names]
        asked = first_of(values, *_ASKED)
        if asked is None or all(is_transcript(text) for text in texts):
            return _preferred(values, shared_prompt(transcript(texts[0]), transcript(texts[1])), *names)
        prompt = transcript(text_at(values, asked))
        if prompt[-1].role == "assistant" and not prompt[-1].content:
            prompt = prompt[:-1]
        return _preferred(values, Shared(ended_by_user(prompt, asked), *texts), asked, *names)


@layouts.register(name="implicit_prompt")
class ImplicitPrompt(Layout):
    """Two conversations, or two texts, that begin with the same prompt."""

    about = "`chosen` and `rejected` that begin with the same turns, which are the prompt"

    def fits(self, values: Values) -> bool:
        if not _has_sides(values) or first_of(values, *_ASKED) is not None:
            return False
        one, two = (found_at(values, name) for name in _sides(values))
        return are_turns(one) and are_turns(two) and one[0] == two[0] and not _scored(values)

    def read(self, values: Values, prefer: str | None) -> Preferred:
        names = _sides(values)
        one, two = (_side(values, name) for name in names)
        if isinstance(one, str) and isinstance(two, str):
            return _preferred(values, shared_text(one, two), *names)
        if isinstance(one, str) or isinstance(two, str):
            raise RowFault(Flaw.WRONG_TYPE, f"{names[0]!r} and {names[1]!r} are not of one kind: two texts, or turns")
        return _preferred(values, shared_prompt(one, two), *names)


def _scored(values: Values) -> bool:
    return any(name in values for name in _BINARIZED)


_ASPECTS = ("instruction_following", "honesty", "truthfulness", "helpfulness")


@layouts.register(name="ultrafeedback")
class UltraFeedback(Layout):
    """Several answers with GPT-4's scores, or the best and another of them (binarized)."""

    about = "`completions` with `overall_score`, or `score_chosen` and `score_rejected`"
    judged_by = "GPT-4"
    decides: ClassVar[tuple[str, ...]] = ("overall_score", "fine-grained_score", *_ASPECTS)

    def fits(self, values: Values) -> bool:
        if _has_sides(values):
            return _scored(values) and not any(is_transcript(found_at(values, name)) for name in _sides(values))
        answers = values.get("completions")
        return (
            isinstance(answers, list)
            and bool(answers)
            and all(isinstance(each, Mapping) and "response" in each for each in answers)
        )

    def read(self, values: Values, prefer: str | None) -> Preferred:
        decides = prefer or self.decides[0]
        if decides not in self.decides:
            raise InputError(layouts_prefer("ultrafeedback", decides, self.decides))
        if "completions" not in values and (_has_sides(values) or _scored(values)):
            return self._binarized(values)
        asked = needed(values, "instruction", *PROMPTS)
        answers = found_at(values, needed(values, "completions"))
        if not isinstance(answers, list) or not answers or not all(isinstance(each, Mapping) for each in answers):
            raise RowFault(Flaw.WRONG_TYPE, f"the field 'completions' is not a list of answers: {shown(answers)}")
        found = tuple(_scored_answer(each, decides) for each in answers)
        return Preferred(
            prompt_at(values, asked), found, id=id_of(values), rest=rest_of(values, asked, "completions", "id")
        )

    def _binarized(self, values: Values) -> Preferred:
        chosen, rejected = _sides(values)
        asked = first_of(values, *_ASKED)
        one, two = _side(values, chosen), _side(values, rejected)
        if asked is None:
            if isinstance(one, str) or isinstance(two, str):
                raise RowFault(Flaw.MISSING_FIELD, "no prompt, and the sides are texts: they cannot be told apart")
            return _preferred(values, shared_prompt(one, two), chosen, rejected)
        prompt = prompt_at(values, asked)
        sides = (_after(prompt, one, chosen), _after(prompt, two, rejected))
        found = _preferred(values, Shared(prompt, *sides), asked, chosen, rejected)
        scores = [answer.score for answer in found.answers]
        if None not in scores and scores[0] == scores[1]:
            return replace(found, winner="tie")
        return found


def _scored_answer(answer: Mapping[str, Any], decides: str) -> Answer:
    """An answer with its score; None where GPT-4 gave none ("N/A"). Raises RowFault."""
    where = f"annotations.{decides}.Rating" if decides in _ASPECTS else decides
    if found_at(answer, where) is None and where not in answer:
        value: Any = _mean(answer) if decides == "overall_score" and "annotations" in answer else None
        if value is None:
            raise RowFault(Flaw.MISSING_FIELD, f"an answer of 'completions' has no {where!r}")
    else:
        value = found_at(answer, where)
    return Answer(text_at(answer, "response"), number_in(value), str(answer.get("model") or ""))


def _mean(answer: Mapping[str, Any]) -> float | None:
    """The mean of the aspects' ratings, where a copy of the data set has no `overall_score`."""
    ratings = [number_in(found_at(answer, f"annotations.{name}.Rating")) for name in _ASPECTS]
    known = [each for each in ratings if each is not None]
    return sum(known) / len(known) if known else None


def layouts_prefer(layout: str, given: str, known: tuple[str, ...]) -> str:
    """What is wrong with a `prefer`."""
    return f"prefer: {given} is not known to the layout {layout}: choose one of {', '.join(known)}"
