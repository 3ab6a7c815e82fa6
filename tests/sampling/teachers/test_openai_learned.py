"""Only what the recipe names is sent, and what a server refuses is learned once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stillroom.common.records import Request, SamplingParams, Usage, user
from stillroom.errors import InputError
from stillroom.pipeline.config.load import dump, load_recipe
from stillroom.sampling.ledger import request_key
from stillroom.sampling.teachers.openai import OpenAISettings
from stillroom.sampling.teachers.openai.teacher import OpenAITeacher
from tests.conftest import Body, ModelServer, Reply, completion, served_by, write_sums

OPENAI = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."


def refuses(name: str, message: str, **more: Any) -> Callable[[Body], Reply]:
    error = {"message": message, "type": "invalid_request_error", **more}
    return lambda body: Reply({"error": error}, 400) if name in body else Reply(completion("4"))


async def ask(server: ModelServer, *sampling: dict[str, Any], **settings: Any) -> None:
    """One draw after the other, of one teacher."""
    teacher = OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url=server.url, **settings))
    try:
        for each in sampling:
            answer = await teacher.sample(Request("t", 0, user("q"), SamplingParams(**each), 1), Usage())
            assert answer.text == "4"
    finally:
        await teacher.close()


@pytest.mark.parametrize(
    ("named", "sent"),
    [
        ({}, {}),
        ({"temperature": 1.0}, {"temperature": 1.0}),
        ({"top_p": 1.0, "max_tokens": 5}, {"top_p": 1.0}),
        ({"temperature": 0, "top_p": 0.9}, {"temperature": 0, "top_p": 0.9}),
    ],
)
async def test_temperature_and_top_p_are_sent_where_they_are_named(
    model_server: ModelServer, named: dict[str, Any], sent: dict[str, Any]
) -> None:
    await ask(model_server, named)
    [body] = model_server.bodies
    assert {name: body[name] for name in ("temperature", "top_p") if name in body} == sent


def test_naming_the_default_changes_no_key() -> None:
    keys = {
        request_key(user("q"), sampling, "t", 0)
        for sampling in (SamplingParams(), SamplingParams(temperature=1.0), SamplingParams(top_p=1.0))
    }
    assert len(keys) == 1


def test_a_recipe_that_is_written_out_names_no_more_than_it_did(model_server: ModelServer, tmp_path: Path) -> None:
    for sampling in ({}, {"temperature": 1.0}):
        path = write_sums(tmp_path, teacher=served_by(model_server, sampling=sampling))
        written = yaml.safe_load(dump(load_recipe(path).recipe))
        named = {name for name in ("temperature", "top_p") if name in written["teacher"]["sampling"]}
        assert named == set(sampling)
        assert written["teacher"]["sampling"]["max_tokens"] == 1024


@pytest.mark.parametrize(
    ("gone", "message", "instead", "more"),
    [
        ("max_tokens", OPENAI, "max_completion_tokens", {"param": "max_tokens", "code": "unsupported_parameter"}),
        ("max_tokens", OPENAI, "max_completion_tokens", {}),
        ("seed", "Unrecognized request argument supplied: seed", None, {}),
        ("seed", "Extra inputs are not permitted: seed", None, {}),
        ("temperature", "`temperature` and `top_p` cannot both be specified for this model.", "top_p", {}),
    ],
)
async def test_what_a_server_refuses_is_learned_once(
    model_server: ModelServer, gone: str, message: str, instead: str | None, more: dict[str, Any]
) -> None:
    model_server.script = refuses(gone, message, **more)
    sampling = {"temperature": 1.0, "top_p": 0.9}
    await ask(model_server, sampling, sampling, sampling)
    assert [gone in body for body in model_server.bodies] == [True, False, False, False]
    assert instead is None or all(instead in body for body in model_server.bodies[1:])


@pytest.mark.parametrize(
    ("sampling", "settings", "name", "message", "said"),
    [
        (
            {"temperature": 0.5},
            {},
            "temperature",
            "Unsupported value: 'temperature' does not support 0.5",
            "teacher.sampling.temperature",
        ),
        ({"top_k": 5}, {}, "top_k", "Unrecognized request argument: top_k", "teacher.sampling.top_k"),
        (
            {"json_schema": "{}"},
            {},
            "response_format",
            "response_format is not supported",
            "teacher.sampling.json_schema",
        ),
        ({}, {"extra_body": {"seed": 3}}, "seed", "unknown field seed", "teacher.extra_body.seed"),
        (
            {},
            {"max_tokens_field": "max_completion_tokens"},
            "max_completion_tokens",
            "unknown field max_completion_tokens",
            "teacher.max_tokens_field",
        ),
    ],
)
async def test_what_the_recipe_names_is_never_left_out(
    model_server: ModelServer, sampling: Any, settings: Any, name: str, message: str, said: str
) -> None:
    model_server.script = refuses(name, message)
    with pytest.raises(InputError) as caught:
        await ask(model_server, sampling, **settings)
    assert f"does not take {name!r}" in str(caught.value)
    assert said in str(caught.value)
    assert message in str(caught.value)
    assert len(model_server.bodies) == 1


async def test_a_server_that_wants_neither_is_not_asked_for_ever(model_server: ModelServer) -> None:
    both = {"message": "unknown: max_tokens, max_completion_tokens are not supported"}
    model_server.script = lambda body: Reply({"error": both}, 400)
    with pytest.raises(InputError, match="max_completion_tokens"):
        await ask(model_server, {})
    assert len(model_server.bodies) == 2


# -- who knows what was learned ----------------------------------------------------------------------------------


async def test_the_next_teacher_of_the_same_model_and_address_knows(model_server: ModelServer) -> None:
    model_server.script = refuses("max_tokens", OPENAI)
    for _ in range(3):  # the rounds of a loop, a judge, the evaluation: each makes its own teacher
        await ask(model_server, {})
    assert ["max_tokens" in body for body in model_server.bodies] == [True, False, False, False]


@pytest.mark.parametrize("other", [{"model": "n"}, {"max_tokens_field": "max_completion_tokens"}])
async def test_another_model_or_recipe_learns_by_itself(model_server: ModelServer, other: dict[str, Any]) -> None:
    model_server.script = refuses("seed", "Unknown parameter: 'seed'.")
    for settings in ({"model": "m"}, {"model": "m"} | other):
        teacher = OpenAITeacher(
            OpenAISettings.model_validate({"kind": "openai", "base_url": model_server.url} | settings)
        )
        await teacher.sample(Request("t", 0, user("q"), SamplingParams(), 1), Usage())
        await teacher.close()
    assert ["seed" in body for body in model_server.bodies] == [True, False, True, False]


async def test_two_servers_of_one_teacher_learn_by_themselves(model_server: ModelServer) -> None:
    model_server.script = refuses("seed", "Unknown parameter: 'seed'.")
    other = ModelServer()
    try:
        settings = OpenAISettings(kind="openai", model="m", base_url=(model_server.url, other.url))
        teacher = OpenAITeacher(settings)
        for index in range(4):
            await teacher.sample(Request("t", index, user("q"), SamplingParams(), 1), Usage())
        await teacher.close()
    finally:
        other.close()
    assert ["seed" in body for body in model_server.bodies] == [True, False, False]
    assert ["seed" in body for body in other.bodies] == [True, True]


async def test_what_one_learned_leaves_out_nothing_that_another_names(model_server: ModelServer) -> None:
    model_server.script = refuses("temperature", "'temperature' does not support this value", param="temperature")
    await ask(model_server, {"temperature": 1.0})
    with pytest.raises(InputError, match=r"teacher.sampling.temperature"):
        await ask(model_server, {"temperature": 0.5})
    assert [body.get("temperature") for body in model_server.bodies] == [1.0, None, 0.5]
