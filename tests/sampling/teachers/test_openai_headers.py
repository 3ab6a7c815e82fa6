"""Headers and a query of the user's own, with keys that stay in the environment; and what extra_body may not hold."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stillroom.common.records import Request, SamplingParams, Usage, user
from stillroom.common.secrets import named
from stillroom.errors import MissingKey
from stillroom.sampling.teachers.openai import OpenAISettings
from stillroom.sampling.teachers.openai.teacher import OpenAITeacher
from tests.conftest import ModelServer, Reply, command, completion, served_by, stillroom, write_sums

SECRET = "q9X7-a1B2c3D4e5F6g7H8"


async def ask(server: ModelServer, **settings: Any) -> None:
    teacher = OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url=server.url, **settings))
    try:
        await teacher.sample(Request("t", 0, user("q"), SamplingParams(), 1), Usage())
    finally:
        await teacher.close()


async def test_headers_and_query_are_sent(model_server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_KEY", f"{SECRET}\n")
    monkeypatch.setenv("OPENAI_API_KEY", "another-key-1234")
    headers = {"api-key": "$AZURE_KEY", "AUTHORIZATION": "Token $AZURE_KEY", "x-team": "red"}
    await ask(model_server, headers=headers, query={"api-version": "2024-10-21", "k": "$AZURE_KEY"})
    [sent] = model_server.headers
    assert (sent["api-key"], sent["authorization"], sent["x-team"]) == (SECRET, f"Token {SECRET}", "red")
    assert model_server.paths == [f"/v1/chat/completions?api-version=2024-10-21&k={SECRET}"]
    assert SECRET not in named(f"the server said {SECRET}")


def test_they_do_not_make_another_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_KEY", SECRET)
    plain = {"kind": "openai", "model": "m", "base_url": "http://a:1/v1"}
    more = {"headers": {"api-key": "$AZURE_KEY"}, "query": {"api-version": "1"}, "ahead": False}
    one, two = (OpenAITeacher(OpenAISettings.model_validate(each)) for each in (plain, plain | more))
    assert one.identity == two.identity


async def test_a_variable_that_is_not_set_is_named(
    model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_KEY", raising=False)
    with pytest.raises(MissingKey, match=r"AZURE_KEY is not set, which teacher.headers names"):
        await ask(model_server, headers={"api-key": "$AZURE_KEY"})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"headers": {"api-key": SECRET}}, r"headers.api-key looks like a secret.*\$NAME"),
        ({"query": {"token": SECRET}}, "query.token looks like a secret"),
        ({"headers": {"x": "sk-proj-a1B2c3D4e5F6g7H8i9"}}, "headers.x looks like a secret"),
        ({"headers": {"Content-Type": "text/plain"}}, "is for the teacher to set"),
        ({"headers": {"a b": "c"}}, "not the name of a header"),
        ({"headers": {"x": "a\r\nb: c"}}, "line break"),
        ({"extra_body": {"n": 4}}, "extra_body.n is for the teacher to set: keep says"),
        ({"extra_body": {"stream": True}}, "use teacher.stream"),
        ({"extra_body": {"messages": []}}, "they are the task's"),
        ({"extra_body": {"model": "n"}}, "use teacher.model"),
        ({"extra_body": {"max_tokens": 5}}, "use sampling.max_tokens"),
    ],
)
def test_settings_refuse_what_is_not_theirs(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        OpenAISettings.model_validate({"kind": "openai", "model": "m", **settings})
    assert SECRET not in str(caught.value)


def test_a_run_writes_the_key_nowhere(
    model_server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_KEY", SECRET)
    model_server.script = lambda body: f"the key is {SECRET}\n#### 3"
    teacher = served_by(model_server, headers={"api-key": "$AZURE_KEY"}, query={"sig": "$AZURE_KEY"}, ahead=False)
    path = write_sums(tmp_path / "recipe", tasks=2, teacher=teacher)
    done = stillroom("run", path, "--out", tmp_path / "out")
    assert SECRET not in done.stdout + done.stderr
    written = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert model_server.headers[0]["api-key"] == SECRET
    assert written
    assert [file.name for file in written if SECRET.encode() in file.read_bytes()] == []


# -- who is billed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({}, ("from-env", None)),
        ({"organization": "org-1", "project": "$PROJECT"}, ("org-1", SECRET)),
        ({"organization": "team-$PROJECT"}, (f"team-{SECRET}", None)),
        ({"headers": {"OpenAI-Organization": "by-hand"}}, ("by-hand", None)),
    ],
)
async def test_organisation_and_project_are_sent(
    model_server: ModelServer,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    sent: tuple[str | None, str | None],
) -> None:
    monkeypatch.setenv("PROJECT", SECRET)
    monkeypatch.setenv("OPENAI_ORG_ID", "from-env")
    monkeypatch.delenv("OPENAI_PROJECT_ID", raising=False)
    await ask(model_server, **settings)
    [headers] = model_server.headers
    assert (headers.get("openai-organization"), headers.get("openai-project")) == sent


async def test_a_project_that_is_not_set_is_named(model_server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROJECT", raising=False)
    with pytest.raises(MissingKey, match=r"PROJECT is not set, which teacher.project names"):
        await ask(model_server, project="$PROJECT")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"organization": "sk-proj-a1B2c3D4e5F6g7H8i9"}, "organization looks like a secret"),
        ({"project": "a\nb"}, "no HTTP header"),
        ({"project": "p", "headers": {"openai-project": "q"}}, "project is given twice"),
    ],
)
def test_organisation_and_project_refuse(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        OpenAISettings.model_validate({"kind": "openai", "model": "m", **settings})
    assert "a1B2c3D4" not in str(caught.value)


# -- drawing ahead -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead", "peak"),
    [("off", 1), (0, 1), (1, 2), (2, 3), (100, 4), ("on", 4)],  # four slots
)
def test_a_task_has_no_more_in_flight_than_it_needs_and_may_have_ahead(
    model_server: ModelServer, tmp_path: Path, ahead: str | int, peak: int
) -> None:
    model_server.script = lambda body: Reply(completion("#### 0"), wait=len(model_server.bodies) <= peak)
    teacher = served_by(model_server)
    path = write_sums(tmp_path / "recipe", tasks=1, teacher=teacher, keep={"per_task": 1, "max_attempts": 16})
    options = ("--set", f"teacher.ahead={ahead}", "--out", tmp_path / "out")
    with subprocess.Popen(command("run", path, *options), stderr=subprocess.DEVNULL) as process:
        # Always wrong, so more and more draws are expected to be needed, and all are drawn.
        model_server.wait_for(waiting=min(peak, 2))
        model_server.release()
        process.wait(timeout=60)
    assert len(model_server.bodies) == 16
    assert model_server.peak <= peak
    assert (model_server.peak > 1) is (peak > 1)


@pytest.mark.parametrize("ahead", [-1, "some", 1.5])
def test_ahead_is_a_number_or_on_or_off(ahead: Any) -> None:
    with pytest.raises(ValidationError, match="ahead"):
        OpenAISettings.model_validate({"kind": "openai", "model": "m", "ahead": ahead})
