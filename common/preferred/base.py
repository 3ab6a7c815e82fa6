"""What a row of preferences is, why one cannot be read, and which layouts there are.

Preferred(user("2 + 2?"), (Answer("4"), Answer("5")), "a")                         # one of two is better
Preferred(user("2 + 2?"), (Answer("4", 9.0), Answer("5", 1.0), Answer("four", 8.0)))    # each has a score
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import model_validator

from stillroom.common.fields import found_at, has_field, no_field
from stillroom.common.records import Message, Messages, user, with_input
from stillroom.common.registry import Registry
from stillroom.common.row_files import kind_of
from stillroom.common.settings import Settings
from stillroom.common.turns import NoTurns, turns_in

Values = Mapping[str, Any]
Winner = Literal["a", "b", "tie"]


class Flaw(StrEnum):
    """Why a row gives no preference: a closed set, so that it can be counted."""

    # Bad rows: refused, or with `bad_rows: skip` left out and counted.
    NOT_READ = "not_read"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    EMPTY_TEXT = "empty_text"
    SAME_TEXT = "same_text"
    NO_COMMON_PROMPT = "no_common_prompt"
    UNKNOWN_LABEL = "unknown_label"
    NO_LABEL = "no_label"
    NOT_TEXT = "not_text"
    DUPLICATE_ID = "duplicate_id"
    # A good row that no pair of single answers can be made of: left out and counted, never refused.
    SEVERAL_TURNS = "several_turns"


class RowFault(Exception):
    """A row that gives no preference. Caught where rows are gathered; never seen by a user."""

    def __init__(self, reason: Flaw, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class Answer(NamedTuple):
    """One answer. `score`: higher is better, None where it has none. `model`: who wrote it, "" where nobody says."""

    text: str
    score: float | None = None
    model: str = ""


@dataclass(frozen=True, slots=True)
class Preferred:
    """A row. `winner`: of two answers, the better one; None: the scores say it. `votes`: of several people, `winner`
    being what most say. `id`: the row's own name, None where it has none. `rest`: its other fields."""

    prompt: Messages
    answers: tuple[Answer, ...]
    winner: Winner | None = None
    votes: tuple[Winner, ...] = ()
    id: str | None = None
    rest: Mapping[str, Any] = field(default_factory=dict)


class Reading(Settings):
    """How a file of preferences is read."""

    layout: str | None = None
    """How rows are laid out; null: as the first rows plainly are."""
    prefer: str | None = None
    """What decides, where a row holds several judgements: `better` or `safer` (pku), a column of scores."""
    bad_rows: Literal["refuse", "skip"] = "refuse"
    """Rows that cannot be read are refused, or left out and counted."""
    source: Literal["file", "hf"] = "file"
    """`file`, or `hf` for a data set of the hub by its name, also a local folder of one."""
    name: str | None = None
    """Configuration of the data set, where it has several."""
    split: str | None = None
    """Split of the data set; null: `train`."""

    @model_validator(mode="after")
    def _of_a_data_set(self) -> Reading:
        if self.name is not None and self.source != "hf":
            raise ValueError("name is a data set's configuration: set source: hf, or leave name out")
        return self


class Layout:
    """How rows of one kind are read. `about`: its fields, for people. `grouped`: the answers to one prompt stand in
    several rows. `judged_by`: who judged, where it was a model and not people."""

    about: ClassVar[str]
    grouped: ClassVar[bool] = False
    judged_by: ClassVar[str] = ""

    def fits(self, values: Values) -> bool:
        """Whether a row is plainly of this layout, and so of no other."""
        raise NotImplementedError

    def read(self, values: Values, prefer: str | None) -> Preferred:
        """The preference of a row. Raises RowFault; InputError for a `prefer` that the layout does not know."""
        raise NotImplementedError


layouts: Registry[Layout] = Registry("layout of preferences", tag="layout", where=("stillroom.common.preferred",))
"""Every layout by its name."""


# -- for layouts -------------------------------------------------------------------------------------------------

PROMPTS = ("prompt", "question.full_text", "question", "instruction", "input.messages", "input", "query", "info.post")
"""Names of the field that holds the prompt."""
MODELS = ("model", "model_name", "source", "generator")
"""Names of the field that says who wrote an answer."""


def first_of(values: Values, *names: str) -> str | None:
    """The first of these fields that the row has; None where it has none."""
    return next((name for name in names if name in values or ("." in name and has_field(values, name))), None)


def needed(values: Values, *names: str) -> str:
    """The first of these fields that the row has. Raises RowFault, which names the nearest that it has."""
    if (found := first_of(values, *names)) is None:
        others = f", nor {', '.join(names[1:4])}" if names[1:] else ""
        raise RowFault(Flaw.MISSING_FIELD, no_field(values, names[0]) + others)
    return found


def text_at(values: Values, *names: str) -> str:
    """The text under the first of these fields that the row has. Raises RowFault where it is none, or blank."""
    name = needed(values, *names)
    value = found_at(values, name)
    if not isinstance(value, str):
        raise RowFault(
            Flaw.EMPTY_TEXT if value is None else Flaw.WRONG_TYPE, f"the field {name!r} is {kind_of(value)}, not text"
        )
    if not value.strip():
        raise RowFault(Flaw.EMPTY_TEXT, f"the field {name!r} is empty")
    return value


def turns_at(values: Values, name: str) -> Messages:
    """The conversation under a field. Raises RowFault."""
    try:
        return turns_in(found_at(values, name))
    except NoTurns as error:
        raise RowFault(Flaw.WRONG_TYPE, f"the field {name!r}: {error}") from None


def prompt_at(values: Values, *names: str) -> Messages:
    """The prompt under the first of these fields, a text or a conversation, with the row's system prompt before it.
    Raises RowFault."""
    name = needed(values, *names)
    value = listed(found_at(values, name), name)
    if isinstance(value, list):
        turns = turns_at({name: value}, name)
    else:
        text, about = text_at(values, name), values.get("input") if name == "instruction" else None
        turns = user(with_input(text, about) if isinstance(about, str) and about.strip() else text)
    turns = (*_history(values), *turns)
    system = values.get("system")
    if isinstance(system, str) and system.strip() and turns[0].role != "system":
        turns = (Message("system", system), *turns)
    return ended_by_user(turns, name)


def _history(values: Values) -> Messages:
    """Earlier turns as LLaMA-Factory has them: a list of questions with their answers."""
    history = values.get("history")
    if not isinstance(history, list) or not history:
        return ()
    if not all(
        isinstance(each, list) and len(each) == 2 and all(isinstance(t, str) for t in each) for each in history
    ):
        raise RowFault(Flaw.WRONG_TYPE, "the field 'history' is not a list of questions with their answers")
    return tuple(turn for q, a in history for turn in (Message("user", q), Message("assistant", a)))


def listed(value: Any, name: str) -> Any:
    """The list that a text of JSON holds, as in a cell of CSV; anything else as it is. Raises RowFault for a list of
    turns that is written as Python."""
    if not isinstance(value, str) or value.lstrip()[:1] != "[":
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        if value.lstrip()[:3] in ("[{'", '[{"'):
            told = f"the field {name!r} looks like turns, but is not JSON: write them with json.dumps"
            raise RowFault(Flaw.WRONG_TYPE, told) from None
        return value
    return found if isinstance(found, list) and found else value


def ended_by_user(turns: Messages, name: str) -> Messages:
    """The turns. Raises RowFault where they do not end with a user's question."""
    if not turns or turns[-1].role != "user" or not turns[-1].content.strip():
        raise RowFault(Flaw.WRONG_TYPE, f"the prompt in {name!r} does not end with what a user asks")
    return turns


def number_in(value: Any) -> float | None:
    """A finite number, also one that is written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def score_at(values: Values, name: str) -> float:
    """The score under a field. Raises RowFault."""
    if not has_field(values, name):
        raise RowFault(Flaw.MISSING_FIELD, no_field(values, name))
    value = found_at(values, name)
    if (found := number_in(value)) is None:
        reason = Flaw.NO_LABEL if value is None or value == "" else Flaw.UNKNOWN_LABEL
        raise RowFault(reason, f"the field {name!r} is {shown(value)}, not a number")
    return found


def differing(a: Answer, b: Answer) -> tuple[Answer, Answer]:
    """Both. Raises RowFault where their texts are the same but for white space."""
    if a.text.split() == b.text.split():
        raise RowFault(Flaw.SAME_TEXT, f"both answers are the same text: {a.text.strip()[:60]!r}")
    return a, b


def rest_of(values: Values, *used: str) -> dict[str, Any]:
    """The other fields of the row."""
    taken = {name.split(".")[0].split("[")[0] for name in used} | set(used)
    return {name: value for name, value in values.items() if name not in taken}


def id_of(values: Values) -> str | None:
    """The row's own name."""
    name = first_of(values, "id", "pair_id", "item_id", "item")
    value = None if name is None else found_at(values, name)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip() else None


def shown(value: Any) -> str:
    """A value, short enough for a message."""
    return f"{value!r:.60}"
