r"""Layouts of rows that compare two answers: `arena`, `pku`, `shp`, `comparison` (also a spreadsheet of labels).

    {"conversation_a": […], "conversation_b": […], "model_a": "x", "model_b": "y", "winner": "model_a"}     arena
    {"prompt": "[\"2 + 2?\"]", "response_a": "[\"4\"]", "response_b": "[\"5\"]", "winner_model_a": 1, …}    arena
    {"prompt": "2 + 2?", "response_0": "4", "response_1": "5", "better_response_id": 0, "safer_response_id": 1}  pku
    {"history": "2 + 2?", "human_ref_A": "4", "human_ref_B": "5", "labels": 1}                              shp
    {"prompt": "2 + 2?", "a": "4", "b": "5", "label": "A"}                                           comparison

A label may be a column for each person: `label_1`, `label_2`, or a list in one; what most of them say is the label.
Fields as in https://huggingface.co/datasets/lmsys/chatbot_arena_conversations, lmarena-ai/arena-human-preference-55k,
PKU-Alignment/PKU-SafeRLHF and stanfordnlp/SHP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from stillroom.common.fields import found_at, has_field, no_field
from stillroom.common.preferred.base import (
    PROMPTS,
    Answer,
    Flaw,
    Layout,
    Preferred,
    RowFault,
    Values,
    Winner,
    differing,
    first_of,
    id_of,
    layouts,
    listed,
    needed,
    number_in,
    prompt_at,
    rest_of,
    score_at,
    shown,
    text_at,
    turns_at,
)
from stillroom.common.preferred.chosen import layouts_prefer
from stillroom.common.preferred.transcripts import Shared, shared_prompt
from stillroom.common.preferred.winners import most_said, winner_in
from stillroom.common.records import Message, Messages
from stillroom.errors import InputError

_LABELS = ("label", "winner", "preference", "preferred", "choice", "vote", "verdict", "better", "overall_preference")
_OF_ONE = re.compile(
    r"(?:label|winner|preference|choice|vote|verdict|annotator|rater)s?[ _\-:(]+"
    r"(?!model|a$|b$|id\b|name\b|reason|comment|note|confidence|strength|statement|elaboration|source|time|date|type)"
    r"[\w ]+?\)?",
    re.IGNORECASE,
)
"""A column of labels of one person: `label_1`, `rater 2`, `vote (Anna)`."""
_MODELS = (
    ("model_a", "model_b"),
    ("model_1", "model_2"),
    ("model_left", "model_right"),
    ("generator_1", "generator_2"),
)
_SIDES = (
    ("a", "b"),
    ("answer_a", "answer_b"),
    ("response_a", "response_b"),
    ("output_a", "output_b"),
    ("completion_a", "completion_b"),
    ("text_a", "text_b"),
    ("answer_1", "answer_2"),
    ("response_1", "response_2"),
    ("response1", "response2"),
    ("output_1", "output_2"),
    ("completion_1", "completion_2"),
    ("left", "right"),
    ("answer_left", "answer_right"),
    ("response_left", "response_right"),
    ("answer_0", "answer_1"),
    ("response_0", "response_1"),
    ("completion_0", "completion_1"),
    ("summaries[0].text", "summaries[1].text"),
)
"""Fields of the two answers. Those with a 0 come after those with a 1 and 2, which may have both."""


NAMES = (*_LABELS, *(name for pair in (*_MODELS, *_SIDES) for name in pair))
"""Names of fields that a table may spell in its own way."""


def _models(values: Values) -> tuple[str, str]:
    names = next((pair for pair in _MODELS if all(has_field(values, name) for name in pair)), None)
    return ("", "") if names is None else (str(values[names[0]] or ""), str(values[names[1]] or ""))


def _compared(values: Values, found: Shared, votes: tuple[Winner, ...], *used: str) -> Preferred:
    models = _models(values)
    a, b = differing(Answer(found.a, None, models[0]), Answer(found.b, None, models[1]))
    rest = rest_of(values, *used, *(name for pair in _MODELS for name in pair), "id", "question_id", "system")
    return Preferred(
        found.prompt, (a, b), most_said(votes), votes if len(votes) > 1 else (), id=id_of(values), rest=rest
    )


@layouts.register(name="arena")
class Arena(Layout):
    """Two whole conversations, or lists of their turns as JSON texts, and who won."""

    about = "`conversation_a`, `conversation_b` and `winner`, or JSON texts with `winner_model_a`"

    def fits(self, values: Values) -> bool:
        if "conversation_a" in values and "conversation_b" in values:
            return True
        return "response_a" in values and ("winner_model_a" in values or _is_listed(values.get("prompt")))

    def read(self, values: Values, prefer: str | None) -> Preferred:
        one, two = self._conversations(values)
        used = ("conversation_a", "conversation_b", "prompt", "response_a", "response_b", "winner", *_WINNERS)
        votes = (self._winner(values),)
        return _compared(values, shared_prompt(one, two), votes, *used)

    def _conversations(self, values: Values) -> tuple[Messages, Messages]:
        if first_of(values, "conversation_a", "conversation_b") is not None:
            names = needed(values, "conversation_a"), needed(values, "conversation_b")
            a, b = (_judged(values, name) for name in names)
            return a, b
        asked = _texts(values, "prompt")
        a, b = (_turns_of(asked, _texts(values, name), name) for name in ("response_a", "response_b"))
        return a, b

    def _winner(self, values: Values) -> Winner:
        if "winner" in values or not any(name in values for name in _WINNERS):
            return winner_in(values[needed(values, "winner")], models=_models(values))
        said = [
            side for side, name in zip(("a", "b", "tie"), _WINNERS, strict=True) if number_in(values.get(name)) == 1
        ]
        if len(said) != 1:
            told = ", ".join(f"{name} {values.get(name)!r}" for name in _WINNERS)
            raise RowFault(Flaw.UNKNOWN_LABEL, f"not one winner: {told}: exactly one of them is 1")
        return "a" if said[0] == "a" else "b" if said[0] == "b" else "tie"


def _judged(values: Values, name: str) -> Messages:
    """A conversation, up to the turn that was judged: MT-bench keeps the later ones, too."""
    turns, turn = turns_at({name: listed(values[name], name)}, name), values.get("turn")
    if not isinstance(turn, int) or isinstance(turn, bool) or turn < 1:
        return turns
    system = sum(each.role == "system" for each in turns)
    return turns[: system + 2 * turn]


def _is_listed(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip()[:2] == '["'


_WINNERS = ("winner_model_a", "winner_model_b", "winner_tie")


def _texts(values: Values, name: str) -> list[str]:
    """The texts of a list, also of one that is written as JSON. Raises RowFault."""
    found = listed(values[needed(values, name)], name)
    found = [found] if isinstance(found, str) and found.strip() and found.lstrip()[:1] != "[" else found
    if not isinstance(found, list) or not found or not all(isinstance(each, str) and each.strip() for each in found):
        raise RowFault(Flaw.WRONG_TYPE, f"the field {name!r} is not a list of texts as JSON: {shown(values[name])}")
    return found


def _turns_of(asked: list[str], said: list[str], name: str) -> Messages:
    if len(asked) != len(said):
        raise RowFault(Flaw.WRONG_TYPE, f"{len(asked)} prompts, but {len(said)} answers in {name!r}")
    pairs = zip(asked, said, strict=True)
    return tuple(turn for q, a in pairs for turn in (Message("user", q), Message("assistant", a)))


@layouts.register(name="pku")
class Pku(Layout):
    """Two answers with two judgements: which is better, and which is safer. `prefer` says which counts."""

    about = "`response_0` and `response_1` with `better_response_id` and `safer_response_id`"
    decides: ClassVar[tuple[str, ...]] = ("better", "safer")

    def fits(self, values: Values) -> bool:
        return "response_0" in values and any(f"{name}_response_id" in values for name in self.decides)

    def read(self, values: Values, prefer: str | None) -> Preferred:
        if prefer is None:
            raise InputError(
                "rows of the layout pku hold two judgements: say which counts, with prefer: better or prefer: safer"
            )
        if prefer not in self.decides:
            raise InputError(layouts_prefer("pku", prefer, self.decides))
        name = f"{prefer}_response_id"
        sides = Shared(prompt_at(values, "prompt"), text_at(values, "response_0"), text_at(values, "response_1"))
        value = number_in(values[needed(values, name)])
        if value is None or value not in (0, 1):
            raise RowFault(Flaw.UNKNOWN_LABEL, f"the field {name!r} is {shown(values[name])}, expected 0 or 1")
        return _compared(values, sides, ("a" if value == 0 else "b",), "prompt", "response_0", "response_1", name)


@layouts.register(name="shp")
class Shp(Layout):
    """Two comments on a post; `labels` is 1 where the first has more votes."""

    about = "`history`, `human_ref_A`, `human_ref_B` and `labels`, 1 for the first"

    def fits(self, values: Values) -> bool:
        return "human_ref_A" in values and "history" in values

    def read(self, values: Values, prefer: str | None) -> Preferred:
        names = ("human_ref_A", "human_ref_B")
        sides = Shared(prompt_at(values, "history"), text_at(values, names[0]), text_at(values, names[1]))
        value = number_in(values[needed(values, "labels")])
        if value is None or value not in (0, 1):
            raise RowFault(Flaw.UNKNOWN_LABEL, f"the field 'labels' is {shown(values['labels'])}, expected 1 or 0")
        return _compared(values, sides, ("a" if value == 1 else "b",), "history", *names, "labels")


@layouts.register(name="comparison")
class Comparison(Layout):
    """Two answers and a label: what a spreadsheet of judgements holds."""

    about = "a prompt, two answers (`a` and `b`, `response_1` and `response_2`, …) and a label"

    def fits(self, values: Values) -> bool:
        sides = _two(values)
        if sides is None or first_of(values, *PROMPTS) is None or Arena().fits(values) or Pku().fits(values):
            return False
        if "preference_strength" in values:
            return False
        return bool(_label_names(values)) or _two_scores(values) is not None

    def read(self, values: Values, prefer: str | None) -> Preferred:
        asked, sides = needed(values, *PROMPTS), _two(values)
        if sides is None:
            known = ", ".join(f"{a} and {b}" for a, b in _SIDES[:4])
            raise RowFault(Flaw.MISSING_FIELD, f"no two answers ({known}, …): {no_field(values, 'a')}")
        found = Shared(prompt_at(values, asked), text_at(values, sides[0]), text_at(values, sides[1]))
        if prefer is not None and not has_field(values, prefer):
            raise RowFault(Flaw.MISSING_FIELD, no_field(values, prefer))
        names = [prefer] if prefer is not None else _label_names(values)
        if not names and (scores := _two_scores(values)) is not None:
            both = [Answer(text, score_at(values, name)) for text, name in zip(found[1:], scores, strict=True)]
            rest = rest_of(values, asked, *sides, *scores, "id")
            return Preferred(found.prompt, differing(both[0], both[1]), id=id_of(values), rest=rest)
        if not names:
            raise RowFault(Flaw.MISSING_FIELD, no_field(values, "label"))
        zero = sides[0].endswith("0") or "[0]" in sides[0]
        votes = _votes(values, names, zero=zero)
        return _compared(values, found, votes, asked, *sides, *names)


def _two(values: Values) -> tuple[str, str] | None:
    return next((pair for pair in _SIDES if all(has_field(values, name) for name in pair)), None)


def are_two(values: Values) -> bool:
    """Whether a row has a prompt and two answers, whatever says which is better."""
    return _two(values) is not None and first_of(values, *PROMPTS) is not None


def _two_scores(values: Values) -> tuple[str, str] | None:
    names = (f"{name}_{{}}" for name in ("score", "rating", "reward"))
    pairs = [(name.format(a), name.format(b)) for name in names for a, b in ("ab", "12", "01")]
    return next((pair for pair in pairs if all(name in values for name in pair)), None)


def _label_names(values: Values) -> list[str]:
    """The columns of labels: one, or one for each person."""
    by_name = {" ".join(str(name).split()).casefold(): name for name in values}
    one = next((by_name[name] for name in _LABELS if name in by_name), None)
    if one is not None:
        return [one]
    return [name for name in values if _OF_ONE.fullmatch(str(name).strip()) is not None]


def _votes(values: Values, names: list[str], *, zero: bool) -> tuple[Winner, ...]:
    """What each person says; people who left the row out do not count, unless nobody is left."""
    said: list[Any] = []
    for name in names:
        value = found_at(values, name)
        said += value if isinstance(value, list) and value else [value]
    given = [each for each in said if each is not None and str(each).strip()]
    if any(isinstance(each, Mapping) for each in given):
        raise RowFault(Flaw.UNKNOWN_LABEL, f"the label is {shown(given[0])}, an object: name the field in it")
    models = _models(values)
    return tuple(winner_in(each, models=models, from_zero=zero) for each in given or [None])
