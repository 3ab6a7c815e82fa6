"""Why a row of a data set does not become a task.

raise BadRow(Problem.EMPTY_PROMPT, "the field 'question' is empty")
"""

from __future__ import annotations

from enum import StrEnum


class Problem(StrEnum):
    """Why a row is not a task of the run: a closed set, so that it can be counted."""

    # Bad rows: refused, or with `bad_rows: skip` left out and counted.
    WRONG_ENCODING = "wrong_encoding"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    WRONG_CELLS = "wrong_cells"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    BAD_CHARACTER = "bad_character"
    NOT_TEXT = "not_text"
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


class BadRow(Exception):
    """A row that is not a task. Caught where rows are gathered; never seen by a user."""

    def __init__(self, reason: Problem, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail
