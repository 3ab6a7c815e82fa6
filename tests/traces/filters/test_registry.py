"""The list of filters in a recipe: what is read, and how a mistake is named."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from stillroom.traces.filters import Filters
from stillroom.traces.filters.base import filters
from tests.traces.filters.filtering import build_filters


class Recipe(BaseModel):
    filters: Filters


ALL: list[Any] = [
    "finished",
    "one_final_answer",
    {"not_answer_only": 3},
    {"max_tokens": 2048},
    {"min_tokens": {"limit": 5}},
    {"no_repetition": {"share": 0.4}},
    {"dedup": {"near": 0.8}},
    {"decontaminate": "test"},
    {"not_refused": ["no"]},
    {"one_language": None},
    {"python": "mine.py:keep"},
    {"agreement": "majority"},
]


def test_every_filter_can_be_named() -> None:
    assert sorted(each.name for each in build_filters(ALL)) == filters.in_yaml


def test_a_recipe_written_out_reads_as_the_same_recipe() -> None:
    recipe = Recipe.model_validate({"filters": ALL})
    assert Recipe.model_validate(recipe.model_dump()) == recipe
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert recipe.model_dump()["filters"][6] == {"dedup": {"near": 0.8, "scope": "task", "across_words": 20}}


@pytest.mark.parametrize(
    ("spec", "loc", "said"),
    [
        (
            "finish",
            (),
            "no filter 'finish'; did you mean 'finished'? expected one of agreement, decontaminate, dedup, finished",
        ),
        ({"max_token": 5}, (), "did you mean 'max_tokens'?"),
        ({"max_tokens": 0}, ("max_tokens", "limit"), "greater than or equal to 1"),
        ({"max_tokens": "many"}, ("max_tokens", "limit"), "valid integer"),
        ("max_tokens", ("max_tokens", "limit"), "required"),
        ({"no_repetition": {"shaer": 2}}, ("no_repetition", "shaer"), "not permitted"),
        ({"decontaminate": "train"}, ("decontaminate", "against"), "'test'"),
        ({"dedup": {"near": 1.5}}, ("dedup", "near"), "less than or equal to 1"),
        ({"finished": 2}, (), "takes no bare value"),
        ({"finished": {"name": "dedup"}}, (), "no setting 'name'"),
        ({"dedup": {}, "finished": {}}, (), "a filter is a name or one name"),
        ([], (), "a filter is a name or one name"),
        (7, (), "not 7"),
        ({7: 7}, (), "no filter 7"),
    ],
)
def test_mistakes_are_named_where_they_stand(spec: Any, loc: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Recipe.model_validate({"filters": ["finished", spec]})
    [error] = refused.value.errors()
    assert error["loc"] == ("filters", 1, *loc)
    assert said in error["msg"]
