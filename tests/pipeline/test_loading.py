"""Recipes: every mistake is told with its key, file and line, what is allowed, and what was probably meant."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from stillroom.errors import MissingFile, RecipeError
from stillroom.pipeline.config.load import dump, load_any, load_recipe, shipped
from tests.conftest import write_sums

GOOD = """\
name: tiny
tasks: {source: jsonl, path: tasks.jsonl, test: 5}
teacher:
  kind: openai
  model: m
  base_url: http://localhost:8000/v1
  sampling:
    temperature: 0.5
keep:
  per_task: 2
  max_attempts: 4
filters:
  - finished
  - max_tokens: 256
student:
  model: some/model
evaluate: {}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def told(folder: Path, text: str, *overrides: str) -> str:
    """What is said of a recipe that is refused, with its path cut to the file's name."""
    path = write(folder, text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    assert caught.value.exit_code == 2
    return str(caught.value).replace(str(path), path.name)


def swapped(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


# -- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (
            swapped("keep:", "kept:"),
            9,
            r"kept: unknown key; did you mean 'keep'\? known are earlier, evaluate, filters, keep",
        ),
        (
            swapped("temperature", "temprature"),
            8,
            r"teacher\.sampling\.temprature: unknown key; did you mean 'temperature'\? known are .*, top_p$",
        ),
        (
            swapped("  model: m\n", "  modell: m\n"),
            5,
            r"teacher\.modell: unknown key; did you mean 'model'\? known are ahead, api_key_env, base_url",
        ),
        (swapped("  model: m\n", ""), 3, r"teacher\.model: this key is missing"),
        (swapped("name: tiny\n", ""), None, r"name: this key is missing"),
        (swapped("per_task: 2", "per_task: two"), 10, r"keep\.per_task: .*valid integer.*found 'two'"),
        (swapped("per_task: 2", "per_task: 0"), 10, r"keep\.per_task: .*greater than or equal to 1.*found 0"),
        (swapped("per_task: 2", "per_task: [2]"), 10, r"keep\.per_task: .*valid integer.*found \[2\]"),
        (swapped("max_attempts: 4", "max_attempts: 1"), 9, r"keep: max_attempts is 1, below per_task 2"),
        (swapped("name: tiny", "name: ../tiny"), 1, r"name: .*found '\.\./tiny'"),
        (
            swapped("kind: openai", "kind: opnai"),
            4,
            r"teacher\.kind: there is no 'opnai'; did you mean 'openai'\? "
            r"expected one of openai, python, recorded, transformers, vllm",
        ),
        (swapped("  kind: openai\n", ""), 3, r"teacher\.kind: this key is missing: give one of openai, python"),
        (
            swapped("source: jsonl", "source: json"),
            2,
            r"tasks\.source: there is no 'json'; did you mean 'jsonl'\? expected one of hf, jsonl, python, reasoning_gym",
        ),
        (swapped("test: 5", "tset: 5"), 2, r"tasks\.tset: unknown key; did you mean 'test'\?"),
        (
            swapped("- finished", "- finishd"),
            13,
            r"filters\.1: there is no filter 'finishd'; did you mean 'finished'\?",
        ),
        (swapped("max_tokens: 256", "max_tokens: 0"), 14, r"filters\.2\.max_tokens\.limit: .*found 0"),
        (
            swapped("max_tokens: 256", "max_tokens: {limt: 3}"),
            14,
            r"filters\.2\.max_tokens\.limt: unknown key; did you mean 'limit'\? known are limit$",
        ),
        (swapped("max_tokens: 256", "finished: 3"), 14, r"filters\.2: finished takes no"),
        (swapped("  model: some/model", "  model: 5"), 16, r"student\.model: .*valid string, found 5"),
        (swapped("evaluate: {}", "evaluate: {baselines: [nobody]}"), 17, r"evaluate\.baselines\.1: .*'nobody'"),
        (swapped("evaluate: {}", "evaluate: yes"), 17, r"evaluate: expected keys with values, found True"),
        (swapped("test: 5", "test: 5, reference: null"), None, r"recipe: scorer\.kind answer needs a reference"),
    ],
)
def test_a_mistake_is_told_with_its_key_and_line(tmp_path: Path, text: str, line: int | None, said: str) -> None:
    message = told(tmp_path, text)
    where = "recipe.yaml: " if line is None else f"recipe.yaml, line {line}: "
    assert re.search(f"^{re.escape(where)}{said}", message, re.MULTILINE), message


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    message = told(tmp_path, swapped("temperature: 0.5", "temperature: hot").replace("per_task", "per_tsk"))
    assert [line.split(": ")[1] for line in message.splitlines()] == ["teacher.sampling.temperature", "keep.per_tsk"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"# only a remark\n", "is empty"),
        (b"- a\n- b\n", "a recipe is a mapping of keys, found list"),
        (b"just text", "found str"),
        (b"name: a\nteacher: {kind: openai\n", "line 3: not YAML"),
        (b"name: a\n\tkeep: 3\n", "line 2: not YAML: found character"),
        (b"name: a\nkeep:\n  per_task: 1\n   max_attempts: 2\n", "line 4: not YAML"),
        (b"name: \xff\xfe\n", r"recipe.yaml is not UTF-8 \(byte 6\)"),
        (b"name: a\x00b\n", "not YAML"),
        (b"name: a\n---\nname: b\n", "line 2: not YAML"),
        (b"name: a\nkeep:\n  per_task: 1\n  per_task: 2\n", r"line 4: keep.per_task stands there twice .*line 3"),
        (b"name: !!python/object/apply:os.system [true]\n", "line 1: not YAML: could not determine a constructor"),
        (b"name: &a [*a]\n", "an alias .* within its own anchor"),
        (b"[" * 10_000, "nested too deep|not YAML"),
        (b"name: a\n1: 2\n", "line 2: the key 1 is not text"),
        (b"name: a\n? [x]\n: 2\n", "line 2: the key .* is not text"),
    ],
)
def test_what_is_no_recipe_at_all(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=said):
        load_recipe(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (swapped("student:\n  model: some/model\n", ""), "evaluate compares students, but there is no student"),
        (swapped("test: 5", "test: 0"), "evaluate needs held-out tasks, but tasks.test is 0"),
        (swapped(", test: 5", ""), "evaluate needs held-out tasks, but tasks.test is missing"),
        (swapped("test: 5", "test: null"), "evaluate needs held-out tasks, but tasks.test is missing"),
        (swapped("source: jsonl", "source: hf").replace(", test: 5", ""), "tasks.test is missing"),
    ],
)
def test_what_does_not_fit_together(tmp_path: Path, text: str, said: str) -> None:
    assert said in told(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        swapped("test: 5", "test_path: test.jsonl"),
        swapped("source: jsonl", "source: hf").replace("test: 5", "test_split: test"),
        swapped("source: jsonl, path: tasks.jsonl, test: 5", "source: reasoning_gym, family: chain_sum"),
        swapped(", test: 5", "").replace("evaluate: {}\n", ""),
    ],
)
def test_a_test_source_of_its_own_needs_no_number(tmp_path: Path, text: str) -> None:
    load_recipe(write(tmp_path, text))


# -- --set -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("keep.per_task=3", lambda r: r.keep.per_task == 3),
        (" keep.per_task = 3", lambda r: r.keep.per_task == 3),
        ("seed=7", lambda r: r.seed == 7),
        ("teacher.retry.attempts=2", lambda r: r.teacher.retry.attempts == 2),  # not in the file: created
        ("keep={per_task: 1, max_attempts: 9}", lambda r: r.keep.max_attempts == 9),
        ("teacher.system=a=b", lambda r: r.teacher.system == "a=b"),
        ("teacher.system=", lambda r: r.teacher.system is None),
        ("filters=[dedup]", lambda r: [f.name for f in r.filters] == ["dedup"]),
        ("teacher.sampling.temperature=1e-1", lambda r: r.teacher.sampling.temperature == 0.1),
        ("evaluate=null", lambda r: r.evaluate is None),
    ],
)
def test_set_overrides_and_creates(tmp_path: Path, override: str, read: Any) -> None:
    assert read(load_recipe(write(tmp_path, GOOD), [override]).recipe)


def test_a_later_set_wins(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, GOOD), ["seed=1", "seed=2"]).recipe.seed == 2


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("keep.per_task", "--set keep.per_task: expected KEY=VALUE"),
        ("=3", "--set : expected KEY=VALUE"),
        ("keep..per_task=3", "--set keep..per_task: expected KEY=VALUE"),
        ("keep.per_tsk=3", "--set keep.per_tsk: unknown key; did you mean 'per_task'?"),
        ("teacher.sampling.temprature=3", "--set teacher.sampling.temprature: unknown key"),
        ("keep.per_task=many", "--set keep.per_task: Input should be a valid integer"),
        ("keep={per_tsk: 3}", "--set keep: keep.per_tsk: unknown key"),
        ("keep=3", "--set keep: expected keys with values, found 3"),
        ("teacher.kind=opnai", "--set teacher.kind: there is no 'opnai'; did you mean 'openai'?"),
        ("teacher={}", "--set teacher: teacher.kind: this key is missing"),
        ("name.first=x", "--set name.first: name is a plain value and holds no keys"),
        ("filters.0=x", "--set filters.0: filters is a list and holds no keys"),
        ("keep.per_task=[", "--set keep.per_task: the value is not YAML"),
    ],
)
def test_a_bad_set_is_named_as_such(tmp_path: Path, override: str, said: str) -> None:
    assert said in told(tmp_path, GOOD, override)


# -- environment -------------------------------------------------------------------------------------------------


def test_variables_are_expanded_wherever_a_text_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBLEMS", "/data")
    monkeypatch.setenv("HOW_MANY", "7")
    monkeypatch.delenv("NOT_SET", raising=False)
    text = swapped("path: tasks.jsonl", 'path: "${PROBLEMS}/${NOT_SET:-sub/x}.jsonl"').replace(
        "test: 5", 'test: "${HOW_MANY}"'
    )
    recipe: Any = load_recipe(write(tmp_path, text)).recipe
    assert recipe.tasks.path == "/data/sub/x.jsonl"
    assert recipe.tasks.test == 7


@pytest.mark.parametrize("text", ["${x}$", "$HOME", "${", "$${", "${1}", "cost: $5", "{prompt}", "${HOME"])
def test_nothing_else_is_expanded(tmp_path: Path, text: str) -> None:
    recipe = load_recipe(write(tmp_path, GOOD), [f"teacher.system='{text}'"]).recipe
    assert recipe.teacher.system == text


def test_a_variable_that_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    message = told(tmp_path, swapped("model: m\n", "model: ${NOT_SET}\n"))
    assert message == (
        "recipe.yaml, line 5: teacher.model: the environment variable NOT_SET is not set: export it, or write "
        "${NOT_SET:-default}"
    )


# -- secrets -----------------------------------------------------------------------------------------------------

KEY = "sk-proj-a1B2c3D4e5F6g7H8"


@pytest.mark.parametrize("line", [f"api_key: {KEY}", f"key: {KEY}", f"api_key_env: {KEY}", f"api_key_env: [{KEY}]"])
def test_a_key_in_a_recipe_is_refused_and_never_repeated(tmp_path: Path, line: str) -> None:
    assert KEY not in told(tmp_path, swapped("  model: m\n", f"  model: m\n  {line}\n"))


@pytest.mark.parametrize(
    "override", [f"teacher.api_key={KEY}", f"teacher.api_key=[{KEY}", f"teacher.api_key_env={KEY}"]
)
def test_a_key_on_the_command_line_is_refused_and_never_repeated(tmp_path: Path, override: str) -> None:
    assert KEY not in told(tmp_path, GOOD, override)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "HF_TOKEN", "MY_SECRET", "DB_PASSWORD", "OPENAI_APIKEY"])
def test_a_secret_of_the_environment_is_not_put_into_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, KEY)
    message = told(tmp_path, swapped("  model: m\n", f"  model: m\n  system: ${{{name}}}\n"))
    assert "looks like a secret" in message
    assert "teacher.api_key_env" in message
    assert KEY not in message


# -- where recipes are ---------------------------------------------------------------------------------------------


def test_shipped_recipes_are_found_by_name_and_start_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load_recipe("gsm8k_recorded")
    assert loaded.recipe.name == "gsm8k_recorded"
    assert loaded.base == tmp_path


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_shipped_recipe_is_valid_and_named_as_its_folder(name: str) -> None:
    assert load_any(name).recipe.name == name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gsm8k_recordd", r"no recipe 'gsm8k_recordd': did you mean 'gsm8k_recorded'\? give the path of a YAML file"),
        ("nowhere.yaml", r"no recipe 'nowhere.yaml': give the path of a YAML file, or one of .*gsm8k_recorded"),
    ],
)
def test_a_recipe_that_is_not_there(name: str, said: str) -> None:
    with pytest.raises(MissingFile, match=said):
        load_recipe(name)


def test_a_folder_with_a_recipe_is_one(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    loaded = load_recipe(tmp_path)
    assert loaded.base == tmp_path.resolve()


@pytest.mark.parametrize("name", [*sorted(shipped()), None])
def test_what_is_written_down_reads_as_the_same_recipe(tmp_path: Path, name: str | None) -> None:
    recipe = load_any(write(tmp_path, GOOD) if name is None else name).recipe
    written = dump(recipe)
    assert load_any(write(tmp_path, written)).recipe == recipe
    assert dump(load_any(write(tmp_path, written)).recipe) == written


def test_what_is_written_down_spells_out_every_default(tmp_path: Path) -> None:
    values = yaml.safe_load(dump(load_recipe(write(tmp_path, GOOD)).recipe))
    assert values["seed"] == 0
    assert values["teacher"]["retry"]["attempts"] == 6
    assert values["student"]["lora"]["alpha"] == 32


# -- recipes and settings as plain data ---------------------------------------------------------------------------


def test_a_dict_is_a_recipe_like_the_file(tmp_path: Path) -> None:
    path = write_sums(tmp_path)
    values = yaml.safe_load(path.read_text())
    assert load_any(values).recipe == load_any(path).recipe
    assert load_any(values).base == Path.cwd()


def test_overrides_may_be_a_mapping_and_leave_the_dict_alone(tmp_path: Path) -> None:
    values = yaml.safe_load(write_sums(tmp_path).read_text())
    before = json.dumps(values)
    found = load_recipe(values, {"keep.per_task": 3, "seed": 9}).recipe
    assert (found.seed, found.keep.per_task) == (9, 3)
    assert json.dumps(values) == before


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("keep", 3, "the recipe: keep: expected keys with values, found 3"),
        ("teacher", {"kind": "nobody"}, "there is no 'nobody'"),
        ("seed", Path, "seed"),
        ("tasks", [], "the recipe: tasks.rows: Tuple should have at least 1 item"),
        ("nmae", "x", "did you mean 'name'"),
    ],
)
def test_a_dict_with_a_mistake_names_the_key(tmp_path: Path, key: str, value: Any, told: str) -> None:
    values = yaml.safe_load(write_sums(tmp_path).read_text())
    with pytest.raises(RecipeError, match=re.escape(told)):
        load_any(values | {key: value})


def test_a_dict_without_end_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["tasks"] = endless
    with pytest.raises(RecipeError, match="nested too deeply"):
        load_any(endless)
