"""Which shard a task is in, and how slots are shared out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.records import Task, user
from stillroom.sampling.shards.plan import in_shards, shard_of, slots_of, with_its_share
from stillroom.sampling.teachers.openai import OpenAISettings
from stillroom.sampling.teachers.transformers import TransformersSettings


@given(st.text(), st.integers(1, 50))
def test_a_task_is_in_one_shard_whatever_its_id(name: str, number: int) -> None:
    assert 0 <= shard_of(name, number) < number


def test_a_shard_depends_on_the_id_alone() -> None:
    tasks = [Task(f"t{n}", user("?"), None, "x") for n in range(200)]
    whole, half = in_shards(tasks, 4), in_shards(tasks[::2], 4)
    assert sorted(task.id for each in whole for task in each) == sorted(task.id for task in tasks)
    assert all({task.id for task in some} <= {task.id for task in of} for some, of in zip(half, whole, strict=True))
    assert all(each == sorted(each, key=tasks.index) for each in whole)
    assert min(map(len, whole)) > 25


def test_an_id_that_is_no_text_for_utf_8_has_a_shard() -> None:
    assert shard_of("\ud800", 3) == shard_of("\ud800", 3)


@pytest.mark.parametrize(("total", "workers", "each"), [(64, 3, [22, 21, 21]), (2, 4, [1, 1, 1, 1]), (5, 1, [5])])
def test_every_worker_has_a_slot(total: int, workers: int, each: list[int]) -> None:
    assert slots_of(total, workers) == each


def test_what_a_server_allows_a_minute_is_shared_out() -> None:
    given = OpenAISettings.model_validate({
        "kind": "openai",
        "model": "m",
        "base_url": "http://localhost:1/v1",
        "rate_limits": {"requests_per_minute": 90},
    })  # fmt: skip
    share = with_its_share(given, 3)
    assert isinstance(share, OpenAISettings)
    assert (share.rate_limits.requests_per_minute, share.rate_limits.tokens_per_minute) == (30, None)
    assert share.model_copy(update={"rate_limits": given.rate_limits}) == given
    local = TransformersSettings(kind="transformers", model="m")
    assert with_its_share(local, 3) == local
