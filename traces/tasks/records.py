"""What reading tasks yields: rows, the reasons why a row is not a task, and the set that is left.

A reason is from a closed set (`Problem`), so that it can be counted; the detail is for a person to read.

>>> LeftOut("problems.jsonl:4", Problem.EMPTY_PROMPT, "the field 'question' is empty").reason.value
'empty_prompt'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from stillroom.common.records import Task


class Problem(StrEnum):
    """Why a row is not a task of the run."""

    # Bad rows: refused, or with `bad_rows: skip` left out and counted.
    WRONG_ENCODING = "wrong_encoding"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    BAD_CHARACTER = "bad_character"
    EMPTY_PROMPT = "empty_prompt"
    EMPTY_REFERENCE = "empty_reference"
    EMPTY_ID = "empty_id"
    NO_REFERENCE_FOUND = "no_reference_found"
    DUPLICATE_ID = "duplicate_id"
    CONTRADICTING_REFERENCE = "contradicting_reference"
    # Good rows that are not wanted twice: left out and counted, never refused.
    DUPLICATE_PROMPT = "duplicate_prompt"
    IN_TEST_SPLIT = "in_test_split"


UNWANTED = frozenset({Problem.DUPLICATE_PROMPT, Problem.IN_TEST_SPLIT})


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it was read. `source` says where it stands (`problems.jsonl:17`, counted from 1)."""

    source: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that did not become a task, with its reason."""

    source: str
    reason: Problem
    detail: str


@dataclass(frozen=True, slots=True)
class TaskSet:
    """The tasks of a run.

    The training tasks are read one by one where they are looked at: there may be very many.
    `train` goes to the teacher, `test` and `validation` never do to be learned from; no prompt is in two of them.
    `left_out` has each row that became no task. `beyond_limit` counts good rows that `limit` (or `test`, for a
    separate test source) left unread. `notes` are remarks that a person should see, such as a limit larger than the
    file.
    """

    train: Sequence[Task]
    test: tuple[Task, ...]
    left_out: tuple[LeftOut, ...] = ()
    beyond_limit: int = 0
    notes: tuple[str, ...] = ()
    validation: tuple[Task, ...] = ()

    @property
    def held_out(self) -> tuple[Task, ...]:
        """What is in no training row: `test` and `validation`."""
        return (*self.test, *self.validation)
