"""A secret in every place that can hold one, and then a search for any piece of it in all that a run leaves behind."""

from __future__ import annotations

import base64
import io
import itertools
import json
import random
import string
from collections.abc import Callable, Iterator
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stillroom import attempts, run, status
from stillroom.cli import app as cli
from stillroom.common import secrets
from stillroom.common.files import readable
from stillroom.common.printing import Terminal, json_text
from stillroom.common.records import SamplingParams
from stillroom.common.secrets import names_a_secret, secrets_in
from stillroom.errors import RecipeError, StillroomError
from stillroom.pipeline.config.load import load_any
from stillroom.pipeline.planning.plan import Plan
from stillroom.pipeline.run.progress import Display
from stillroom.sampling.teachers.openai import OpenAISettings
from stillroom.sampling.teachers.vllm import VllmSettings
from tests.conftest import Body, ModelServer, Reply, completion, served_by, sum_answer, write_sums

PLAIN = string.ascii_letters + string.digits
MARKS = PLAIN + "+/=&%._~-"
ANY = PLAIN + "+/=&%\"'\\<>$#!{};:@"


def secret(seed: object, alphabet: str = PLAIN, length: int = 40) -> str:
    rng = random.Random(str(seed))
    return "q7" + "".join(rng.choices(alphabet, k=length - 2))


def forms(value: str) -> Iterator[str]:
    """As it may come back."""
    yield from (value, quote(value, safe=""), json.dumps(value)[1:-1], escape(value), value.upper(), value.lower())
    for before in ("", "x", "xy", "user:"):
        yield base64.b64encode((before + value).encode()).decode()


def pieces(value: str) -> set[str]:
    """Every eight characters of it in a row. Digits alone are in many a number."""
    found = {value[i : i + secrets.PIECE] for i in range(len(value) - secrets.PIECE + 1)}
    return {piece for piece in found if not piece.isdigit()}


def leaked(text: str, values: dict[str, str]) -> list[str]:
    """Whose pieces stand in a text."""
    return [name for name, value in values.items() if any(piece in text for piece in pieces(value))]


# -- the search itself ---------------------------------------------------------------------------------------------


@given(
    st.text(MARKS, min_size=8, max_size=80).filter(lambda value: any(map(str.isalpha, value))),
    st.integers(0, 9),
    st.text(" .,:\n", max_size=9),
    st.text(" .,:\n", max_size=9),
    st.data(),
)
def test_no_piece_of_a_key_is_left_in_any_form(key: str, form: int, before: str, after: str, data: Any) -> None:
    secrets.forget()
    secrets.keep_key(key)
    written = list(forms(key))[form]
    start = data.draw(st.integers(0, len(written)))
    text = before + written[start : data.draw(st.integers(start, len(written)))] + after
    for clean in (secrets.blot(text), secrets.named(text)):
        assert not any(piece in clean for piece in pieces(key))


@given(st.text(ANY + "é ", max_size=200))
def test_a_text_without_a_secret_stays_as_it_is(text: str) -> None:
    secrets.forget()
    secrets.keep_key("ZZZZ-zzzz-0000-ZZZZ-zzzz")
    assert secrets.blot(text) == secrets.named(text) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("You are a helpful tutor: think step by step.", "Let me think step by step."),
        ("mathematics", "mathematics is fun"),
        ("/home/me/data", "in /home/me/other"),
        ("http://127.0.0.1:8000/v1", "see http://127.0.0.1/"),
        ("4", "2 + 2 = 4"),
        ("eu", "neutral"),
    ],
)
def test_what_is_no_credential_leaves_answers_alone(value: str, text: str) -> None:
    secrets.keep_value(value, "VALUE")
    assert secrets.blot(text) == text


def test_a_model_of_the_same_family_keeps_its_name() -> None:
    secrets.keep_value("Qwen/Qwen3-8B", "MODEL", "{'teacher': '${MODEL}', 'student': 'Qwen/Qwen3-0.6B'}")
    assert secrets.named("Qwen/Qwen3-0.6B by Qwen/Qwen3-8B") == "Qwen/Qwen3-0.6B by ${MODEL}"


# -- a whole run ---------------------------------------------------------------------------------------------------

VALUES = {
    **{name: secret(name, ANY) for name in ("GATEWAY", "WHO", "DEEP", "LISTED", "SYSTEM", "EXAMPLE", "STOP")},
    **{name: secret(name) for name in ("MODEL", "LICENCE", "FOLDER", "NAMED")},
}
KEYS = {
    "OPENAI_API_KEY": secret("key", MARKS),
    "OPENAI_ORG_ID": secret("org"),
    "OPENAI_PROJECT_ID": secret("project"),
}
ALL = VALUES | KEYS


def recipe_with_all(server: ModelServer, folder: Path, monkeypatch: pytest.MonkeyPatch, **teacher: Any) -> Path:
    """Sums, with a variable in every string that a recipe of them has."""
    for name, value in ALL.items():
        monkeypatch.setenv(name, value)
    settings = served_by(
        server,
        model="m/${MODEL}",
        licence="${LICENCE}",
        system="Hello ${SYSTEM}.",
        examples=[{"prompt": "is it ${EXAMPLE}?", "answer": "${EXAMPLE}"}],
        sampling={"stop": ["${STOP}"]},
        extra_body={"user": "${WHO}", "a": {"b": ["${LISTED}", {"c": "x-${DEEP}"}]}, "metadata": {"g": "${GATEWAY}"}},
        **{"concurrency": 2, **teacher},
    )
    path = write_sums(folder, tasks=3, draws=2, teacher=settings, filters=["finished"])
    (folder / VALUES["FOLDER"]).mkdir()
    (folder / "tasks.jsonl").rename(folder / VALUES["FOLDER"] / "tasks.jsonl")
    recipe = json.loads(path.read_text())
    recipe["name"] = "sums-${NAMED}"
    recipe["tasks"]["path"] = "${FOLDER}/tasks.jsonl"
    path.write_text(json.dumps(recipe))
    return path


def told(body: Body, headers: dict[str, str]) -> str:
    """All that a server knows, as it knows it and as it may write it."""
    got = [*headers.values(), json.dumps(body), json.dumps(body, ensure_ascii=False), str(body)]
    return " ".join([*got, *(form for value in ALL.values() for form in forms(value))])


def right(body: Body) -> str:
    return sum_answer(body["messages"][-1]["content"], body["seed"])


def in_the_answer(body: Body, said: str) -> Reply:
    return Reply(completion(f"You sent {said}.\n{right(body)}", reasoning=f"I see {said}"))


def cut_anywhere(body: Body, said: str) -> Reply:
    rng = random.Random(body["seed"])
    key = f"Bearer {KEYS['OPENAI_API_KEY']}"
    return Reply(b"<html>" + b"." * rng.randint(40, 119) + key.encode() + said.encode())


def in_a_stream(body: Body, said: str) -> Reply:
    """A few letters at a time."""
    words = [said[i : i + 5] for i in range(0, min(len(said), 4000), 5)] + [" so:\n", right(body)]
    parts: list[Body] = [{"choices": [{"delta": {"content": word}}]} for word in words]
    parts.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    data = "".join(f"data: {json.dumps(part)}\n\n" for part in parts) + "data: [DONE]\n\n"
    return Reply(data.encode(), headers={"content-type": "text/event-stream"})


def with_log_probabilities(body: Body, said: str) -> Reply:
    reply = completion(f"{said}\n{right(body)}")
    tokens = [{"token": said[i : i + 5], "logprob": -1.0} for i in range(0, 2000, 5)]
    reply["choices"][0]["logprobs"] = {"content": [{**token, "top_logprobs": tokens[:1]} for token in tokens]}
    return Reply(reply)


def header(said: str) -> str:
    return quote(said[:3000])


ECHOES: dict[str, Callable[[Body, str], Reply]] = {
    "answer": in_the_answer,
    "cut": cut_anywhere,
    "stream": in_a_stream,
    "logprobs": with_log_probabilities,
    "error": lambda body, said: Reply({"error": {"message": said, "code": said}}, status=400),
    "error text": lambda body, said: Reply(said.encode(), status=500),
    "error deep": lambda body, said: Reply({"detail": [{"loc": [said], "msg": said}]}, status=422),
    "key refused": lambda body, said: Reply({"error": {"message": said}}, status=401),
    "quota": lambda body, said: Reply({"error": {"message": said, "type": "insufficient_quota"}}, status=429),
    "redirect": lambda body, said: Reply({}, status=307, headers={"location": f"http://else.where/{header(said)}"}),
    "no model": lambda body, said: Reply({"error": said}, status=404),
    "odd finish": lambda body, said: Reply(completion(right(body), finish=said)),
    "wrong shape": lambda body, said: Reply({"choices": [{"message": {"content": {said: said}}}], "usage": said}),
}


def left_behind(folder: Path) -> Iterator[tuple[str, str]]:
    """Every file, as text; datasets also row by row."""
    import pyarrow.parquet as pq

    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.name, path.read_bytes().decode("latin-1")
            if path.suffix == ".parquet":
                yield path.name, json.dumps(pq.read_table(path).to_pylist(), ensure_ascii=False)


@pytest.mark.parametrize("echo", ECHOES)
def test_a_run_leaves_no_secret_behind(
    model_server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, echo: str
) -> None:
    path = recipe_with_all(model_server, tmp_path / "in", monkeypatch, stream=echo == "stream")
    model_server.script = lambda body: ECHOES[echo](body, told(body, model_server.headers[-1]))
    model_server.models = Reply({"data": [{"id": " ".join(ALL.values())}]})
    shown = io.StringIO()
    out = tmp_path / "out"
    try:
        run(path, out=out, display=Display(Terminal(file=shown, force_terminal=True, width=3000)))
    except StillroomError as error:
        shown.write(str(error))
    assert model_server.bodies[0]["metadata"] == {"g": VALUES["GATEWAY"]}  # the server gets them as they are
    assert model_server.headers[0]["authorization"] == f"Bearer {KEYS['OPENAI_API_KEY']}"
    found = status(out)
    attempts(out, out=out / "attempts.jsonl")
    (out / "status.json").write_text(json_text(found.as_dict()))
    assert leaked(shown.getvalue(), ALL) == []
    for name, text in left_behind(out):
        assert leaked(text, ALL) == [], name
    if echo in ("answer", "stream", "logprobs"):
        assert found.finished
        assert isinstance(found.plan, Plan)
        assert found.plan.asked == 0, "the recipe that was kept is the one that was run"


def test_the_command_line_shows_none(
    model_server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe_with_all(model_server, tmp_path, monkeypatch)
    model_server.script = lambda body: in_the_answer(body, " ".join(ALL.values()))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "400")
    out = str(tmp_path / "out")
    for args in (["run", str(path), "--out", out], ["status", out], ["status", out, "--json"], ["attempts", out]):
        monkeypatch.setattr("sys.argv", ["stillroom", *args, "--debug"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = "".join(capsys.readouterr())
        assert ended.value.code == 0, shown
        assert leaked(shown.replace("\n", ""), ALL) == []


def test_another_value_is_another_request_and_the_same_is_not(
    model_server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recipe_with_all(model_server, tmp_path, monkeypatch)
    model_server.script = right

    def asked() -> int:
        before = len(model_server.bodies)
        run(path, out=tmp_path / "out", display=Display(quiet=True))
        return len(model_server.bodies) - before

    assert asked() > 0
    assert asked() == 0
    for name in ("MODEL", "WHO", "SYSTEM"):
        monkeypatch.setenv(name, secret(f"other {name}"))
        assert asked() > 0
        assert asked() == 0


def test_the_address_of_the_environment_gives_nothing_away(
    model_server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, password, query = (secret(name) for name in ("user", "password", "query"))
    values = {"user": user, "password": password, "query": query}
    host = model_server.url.removeprefix("http://")
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://{user}:{password}@{host}?key={query}")
    teacher = {**served_by(model_server), "base_url": None}
    path = write_sums(tmp_path, tasks=2, teacher=teacher, filters=[])
    words = " ".join([*values.values(), base64.b64encode(f"{user}:{password}".encode()).decode()])
    for reply in (Reply(completion(f"{words} #### 3")), Reply({"error": words}, status=400), Reply(words.encode())):
        model_server.script = lambda _, reply=reply: reply  # type: ignore[misc]
        with suppress(StillroomError):
            run(path, out=tmp_path / "out", display=Display(quiet=True))
    assert [name for name, text in left_behind(tmp_path / "out") if leaked(text, values)] == []


# -- what is refused -----------------------------------------------------------------------------------------------

NAMES = ["token", "auth", "Authorization", "api_key", "apiKey", "X-Api-Key", "password", "passwd", "secret", "cookie"]
NAMES += ["access_token", "client_secret", "bearer", "credentials", "Set-Cookie", "private_key", "hf_token", "pass"]
NESTS: list[Callable[[Body], Any]] = [
    lambda body: body,
    lambda body: {"metadata": body},
    lambda body: {"a": [body]},
    lambda body: {"a": {"b": [1, {"c": body}]}},
    lambda body: {"auth": {"x": body}},
]


@pytest.mark.parametrize(("name", "nest"), list(itertools.product(NAMES, NESTS)))
def test_a_secret_in_what_is_sent_along_is_refused_and_not_repeated(name: str, nest: Callable[[Body], Any]) -> None:
    value = secret(name)
    for body in (nest({name: value}), nest({name: [value]}), nest({name: {"value": value}})):
        with pytest.raises(ValidationError, match="looks like a secret") as caught:
            OpenAISettings.model_validate({"kind": "openai", "model": "m", "extra_body": body})
        assert not leaked(str(caught.value), {name: value})
        with pytest.raises(ValidationError, match="looks like a secret"):
            VllmSettings.model_validate({"kind": "vllm", "model": "m", "engine": body})


@pytest.mark.parametrize(
    "body",
    [
        {"stop_token_ids": [1], "skip_special_tokens": True, "bos_token": "<s>", "truncate_prompt_tokens": 5},
        {"guided_json": {"properties": {"key": {"type": "string"}, "password": {"type": "string"}}}},
        {"chat_template_kwargs": {"enable_thinking": False}, "logit_bias": {"5": -100}},
        {"prompt_cache_key": "lesson-2026-v1", "user": "anna"},
        {"min_tokens": 3, "add_special_tokens": False, "return_tokens_as_token_ids": True, "token": 128_001},
    ],
)
def test_settings_of_servers_are_no_secrets(body: Body) -> None:
    assert list(secrets_in(body)) == []
    assert OpenAISettings.model_validate({"kind": "openai", "model": "m", "extra_body": body}).extra_body == body


_WORDS = ["KEY", "TOKEN", "SECRET", "PASSWORD", "PASS", "AUTH", "BEARER", "APIKEY", "CREDENTIALS", "MYKEYS", "COOKIE"]


@pytest.mark.parametrize(("word", "around"), list(itertools.product(_WORDS, ["{}", "MY_{}", "{}_2", "A_{}_B"])))
def test_a_variable_that_says_it_is_a_secret_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, around: str
) -> None:
    name, value = around.format(word), secret(word)
    monkeypatch.setenv(name, value)
    assert names_a_secret(name)
    path = write_sums(tmp_path)
    with pytest.raises(RecipeError, match="looks like a secret") as caught:
        load_any(path, [f"teacher.model=${{{name}}}"])
    assert not leaked(str(caught.value), {name: value})


@pytest.mark.parametrize(
    "key",
    [f"sk-proj-{secret(1)}", f"hf_{secret(2)}", f"ghp_{secret(3)}", f"Bearer {secret(4)}", f"AKIA{'A1B2' * 4}"],
)
@pytest.mark.parametrize("place", ["teacher.system", "teacher.model", "tasks.template", "name", "teacher.path"])
def test_a_key_of_a_known_form_is_refused_anywhere(tmp_path: Path, key: str, place: str) -> None:
    with pytest.raises(RecipeError, match="looks like a key") as caught:
        load_any(write_sums(tmp_path), [f"{place}='x {key}'"])
    assert not leaked(str(caught.value), {"key": key})


@pytest.mark.parametrize(
    "text", ["Basic mathematics", "Bearer of bad news", "sk-learn-based-pipelines", "hf_dataset"]
)
def test_ordinary_words_are_no_keys(tmp_path: Path, text: str) -> None:
    load_any(write_sums(tmp_path), [f"teacher.system='{text}'"])


def test_mistakes_about_values_of_the_environment_do_not_repeat_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = secret("mistake")
    monkeypatch.setenv("WRONG", value)
    places = ["seed", "keep.per_task", "scorer.timeout_s", "teacher.sampling.temperature", "filters", "limits"]
    places += ["teacher.kind", "tasks.source", "teacher.retry.attempts", "prices", "name.x", "filters.1"]
    for place in places:
        with pytest.raises(StillroomError) as caught:
            load_any(write_sums(tmp_path), [f"{place}=a ${{WRONG}}"])
        assert not leaked(readable(str(caught.value)), {"WRONG": value})
        assert not leaked(str(caught.value), {"WRONG": value}), place


def test_what_is_asked_of_a_server_is_not_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets.keep_value("gpt-9", "MODEL")
    from stillroom.sampling.ledger import request_key
    from stillroom.sampling.teachers.openai.teacher import OpenAITeacher

    teacher = OpenAITeacher(OpenAISettings(kind="openai", model="gpt-9", base_url="http://localhost:1/v1"))
    assert teacher.identity == "openai:${MODEL}"
    key = request_key((), SamplingParams(), teacher.identity, 0)
    secrets.forget()
    assert key == request_key((), SamplingParams(), "openai:gpt-9", 0)  # as ledgers have it that were written before
