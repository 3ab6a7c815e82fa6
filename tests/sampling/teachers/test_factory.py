"""The factory: the right teacher for each kind, nothing heavy too early, and a clear word when it is missing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from stillroom.common.models.resolve import DTYPES
from stillroom.common.records import Request, SamplingParams, Usage, user
from stillroom.errors import MissingExtra, MissingFile, MissingKey
from stillroom.sampling.teachers.base import Teacher, TeacherSettings
from stillroom.sampling.teachers.openai.teacher import OpenAITeacher
from stillroom.sampling.teachers.recorded import RecordedTeacher
from stillroom.sampling.teachers.transformers import teacher as transformers_teacher
from stillroom.sampling.teachers.vllm import teacher as vllm_teacher

SETTINGS: TypeAdapter[Any] = TypeAdapter(TeacherSettings)


def make(base: Path, **settings: Any) -> Teacher:
    teacher: Teacher = SETTINGS.validate_python(settings).make(base)
    return teacher


def test_openai(tmp_path: Path) -> None:
    teacher = make(tmp_path, kind="openai", model="m", base_url="http://localhost:1/v1", concurrency=5)
    assert isinstance(teacher, OpenAITeacher)
    assert (teacher.identity, teacher.concurrency) == ("openai:m", 5)


def test_recorded_starts_at_the_base_folder(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"task_id": "t", "text": "4"}\n')
    assert isinstance(make(tmp_path, kind="recorded", path="a.jsonl"), RecordedTeacher)
    assert isinstance(make(Path("elsewhere"), kind="recorded", path=str(tmp_path / "a.jsonl")), RecordedTeacher)
    with pytest.raises(MissingFile, match=r"there is no file .*b.jsonl"):
        make(tmp_path, kind="recorded", path="b.jsonl")


def test_openai_without_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(MissingKey, match="NO_SUCH_KEY"):
        make(tmp_path, kind="openai", model="m", api_key_env="NO_SUCH_KEY")


@pytest.mark.parametrize(
    ("kind", "missing", "extra"), [("transformers", "torch", "train"), ("transformers", "transformers", "train")]
)
async def test_a_missing_package_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, missing: str, extra: str
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}')
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtra, match=rf"'{missing}'.*pip install 'stillroom\[{extra}\]'") as caught:
        await _ask(make(tmp_path, kind=kind, model=str(model)))
    assert caught.value.exit_code == 2
    assert caught.value.extra == extra


@pytest.mark.parametrize("kind", ["transformers", "vllm"])
def test_a_local_teacher_computes_in_what_its_settings_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())  # as if vLLM were installed
    made: list[str] = []
    for module in (transformers_teacher.TransformersTeacher, vllm_teacher.VllmTeacher):
        monkeypatch.setattr(module, "__init__", lambda self, model, **given: made.append(given["dtype"]))
    for dtype in ("auto", *DTYPES):
        make(tmp_path, kind=kind, model="m", dtype=dtype)
    assert made == ["auto", *DTYPES]
    with pytest.raises(ValueError, match=r"dtype"):
        make(tmp_path, kind=kind, model="m", dtype="int3")


def test_the_type_of_numbers_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dtype is float32 and engine\.dtype half: name it once"):
        make(tmp_path, kind="vllm", model="m", dtype="float32", engine={"dtype": "half"})


async def test_missing_vllm_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtra, match=r"vllm.*pip install 'stillroom\[vllm\]'"):
        await _ask(make(tmp_path, kind="vllm", model=str(tmp_path)))


async def _ask(teacher: Teacher) -> None:
    try:
        await teacher.sample(Request("t", 0, user("q?"), SamplingParams(max_tokens=1), 0), Usage())
    finally:
        await teacher.close()


def test_the_factory_loads_nothing_heavy() -> None:
    code = (
        "import sys; from stillroom.sampling.teachers.base import teachers; list(teachers)\n"
        "heavy = {'torch', 'transformers', 'vllm', 'openai', 'aiohttp', 'datasets', 'sympy'} & sys.modules.keys()\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
