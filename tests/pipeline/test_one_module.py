"""A new kind is one new module: put into a copy of the source tree, it is validated, listed and run like any other."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import write_sums
from tests.pipeline.test_preferences import write_prompts

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def from_page(path: str) -> str:
    """A module as docs/architecture.md shows it."""
    found = re.search(rf"`{re.escape(path)}`.*?\n\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None, f"docs/architecture.md shows no {path}"
    return found[1]


SCORER = '''
"""Accepts answers of some length."""
from typing import Literal
from pydantic import Field
from stillroom.common.records import State, Verdict
from stillroom.sampling.scorers.base import ScorerBase, scorers

class LongScorer:
    def __init__(self, identity, least):
        self.identity, self.least = identity, least

    async def score(self, task, attempt):
        long = len(attempt.text) >= self.least
        return Verdict(State.ACCEPTED if long else State.REJECTED, "long" if long else "short")

    async def close(self): ...

@scorers.register
class Long(ScorerBase):
    kind: Literal["long"]
    least: int = Field(ge=1)

    def identity(self, base):
        return f"long-1:{self.least}"

    def make(self, place):
        return LongScorer(self.identity(place.base), self.least)
'''

TEACHER = '''
"""Adds two numbers up."""
from typing import Literal
from pydantic import Field
from stillroom.common.records import Completion
from stillroom.sampling.teachers.base import TeacherBase, teachers

class Adder:
    identity, concurrency = "adder-1", 4

    async def sample(self, request, usage):
        a, b = (int(word) for word in request.messages[-1].content.strip("?").split() if word.isdigit())
        usage.prompt_tokens, usage.completion_tokens = 7, 9
        return Completion(f"Add {b} to {a} in draw {request.index}.\\n#### {a + b}", "stop", 7, 9)

    async def close(self): ...

@teachers.register
class AdderSettings(TeacherBase):
    kind: Literal["adder"]
    model: str = "adder"
    concurrency: int = Field(default=4, ge=1)

    def make(self, base):
        return Adder()
'''

JUDGE = '''
"""Prefers short answers."""
from typing import Literal
from pydantic import Field
from stillroom.judges.records import JudgeState, Rating
from stillroom.judges.registry import JudgeBase, Made, judges

class BrevityJudge:
    identity, scale = "brevity-1", (0.0, 1.0)

    def __init__(self, most):
        self.most = most

    async def rate(self, task, answer):
        return Rating(JudgeState.OK, max(0.0, 1 - len(answer.text) / self.most), calls=0)

    async def close(self): ...

@judges.register
class Brevity(JudgeBase):
    kind: Literal["brevity"]
    most: int = Field(default=1000, ge=1)

    def make(self, place):
        return Made(BrevityJudge(self.most), None)
'''

METHOD = '''
"""Keeps a list of its rows, and calls it a model."""
from typing import Literal
from pydantic import Field
from stillroom.students.export.save import whole_folder
from stillroom.students.lint.report import LintReport
from stillroom.students.methods.registry import StudentSettings, methods
from stillroom.students.records import Trained

@methods.register
class Rote(StudentSettings):
    method: Literal["rote"] = "rote"
    times: int = Field(default=1, ge=1)

    def train(self, rows, out, *, seed, on_step=None, place=None):
        with whole_folder(out) as work:
            (work / "merged").mkdir()
            said = [row["completion"][-1]["content"] for row in rows] * self.times
            (work / "merged" / "learnt.txt").write_text("\\n".join(said))
        return Trained(out, None, out / "merged", len(said), (), (), 0, 0.0)

    def lint(self, rows, *, test=(), checker=None):
        return LintReport("rows", len(rows), len(rows), (), ("none",))
'''

SOURCE = '''
"""Sums of a number with itself."""
from typing import Literal
from pydantic import Field
from stillroom.traces.tasks.registry import CommonTasks, Row, Source, sources

@sources.register
class Doubles(CommonTasks):
    source: Literal["doubles"]
    most: int = Field(default=16, ge=1)

    def open(self, base, seed):
        rows = [Row(f"doubles:{n}", {"question": f"What is {n} + {n}?", "answer": str(2 * n)}) for n in range(self.most)]
        return Source(rows, None)
'''

FLOW = '''
"""Recipes that greet."""
from dataclasses import asdict, dataclass
from typing import ClassVar
from pydantic import Field
from stillroom.pipeline.config.kinds import RecipeBase, recipe_kinds
from stillroom.pipeline.run.flow import Flow, flows

@recipe_kinds.register(name="greeting")
class GreetingRecipe(RecipeBase):
    marks: ClassVar[frozenset[str]] = frozenset({"greet"})
    greet: str = Field(min_length=1)

@dataclass
class Greeted:
    said: str

    def as_dict(self):
        return asdict(self)

@flows.register(name="greeting")
class Greeting(Flow[GreetingRecipe]):
    def run(self, loaded, folder, display):
        folder.write("greeting.txt", f"Hello, {loaded.recipe.greet}!")
        return Greeted(f"Hello, {loaded.recipe.greet}!")
'''


@dataclass(frozen=True)
class Kind:
    """A kind to add. `recipe` writes a recipe that names it, with a setting of its own; `wrong` overrides that, and
    `said` is in the message. `used` says of the result and the run's folder whether the kind was used."""

    name: str
    path: str
    module: str
    recipe: Callable[[Path], Path]
    wrong: str
    said: str
    used: Callable[[dict[str, Any], Path], bool]


def shouted(folder: Path) -> Path:
    """Sixteen tasks, in one of which the teacher shouts."""
    recipe = write_sums(
        folder, scorer={"kind": "none"}, filters=[{"not_shouted": 0.9}], keep={"per_task": 1, "max_attempts": 1}
    )
    first, *rest = (folder / "recording.jsonl").read_text().splitlines()
    row = json.loads(first)
    lines = [json.dumps(row | {"text": row["text"].upper()}), *rest]
    (folder / "recording.jsonl").write_text("\n".join(lines) + "\n")
    return recipe


def taught(folder: Path) -> Path:
    """A recipe with a student, whose model is a folder that nobody loads."""
    for package in ("torch", "transformers", "trl", "peft", "accelerate"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    (folder / "model").mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / "model" / name).write_text("{}")
    student = {"model": str(folder / "model"), "method": "rote", "times": 2}
    return write_sums(folder, student=student)


def doubled(folder: Path) -> Path:
    """A recipe whose tasks are in no file."""
    recipe = write_sums(
        folder, scorer={"kind": "none"}, teacher={"kind": "recorded", "path": "said.jsonl", "prompt": "question"}
    )
    rows = [{"question": f"What is {n} + {n}?", "text": f"Take {n} twice.\n#### {2 * n}"} for n in range(5)]
    (folder / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe.write_text(json.dumps(json.loads(recipe.read_text()) | {"tasks": {"source": "doubles", "most": 5}}))
    return recipe


def greeting(folder: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text("name: hello\ngreet: world\n")
    return path


def fact(folder: Path, name: str) -> str:
    return json.dumps(json.loads((folder / "run.json").read_text())[name])


KINDS = [
    Kind(
        "not_shouted",
        "traces/filters/not_shouted.py",
        from_page("traces/filters/not_shouted.py"),
        shouted,
        "filters=[{not_shouted: 2}]",
        "filters.1.not_shouted.share: Input should be less than or equal to 1, found 2",
        lambda result, out: (
            result["rows"] == 15 and "capitals" in (out / "rejects" / "not_shouted.jsonl").read_text()
        ),
    ),
    Kind(
        "long",
        "sampling/scorers/long.py",
        SCORER,
        lambda folder: write_sums(folder, scorer={"kind": "long", "least": 10}),
        "scorer.least=0",
        "scorer.least: Input should be greater than or equal to 1, found 0",
        lambda result, out: result["accepted"] == 32,
    ),
    Kind(
        "adder",
        "sampling/teachers/adder.py",
        TEACHER,
        lambda folder: write_sums(folder, teacher={"kind": "adder", "concurrency": 2}),
        "teacher.concurrency=0",
        "teacher.concurrency: Input should be greater than or equal to 1, found 0",
        lambda result, out: result["accepted"] == 32 and "adder-1" in fact(out, "teacher"),
    ),
    Kind(
        "brevity",
        "judges/brevity.py",
        JUDGE,
        lambda folder: write_prompts(folder, judge={"kind": "brevity", "most": 500}),
        "judge.most=0",
        "judge.most: Input should be greater than or equal to 1, found 0",
        lambda result, out: result["pairs"] == 9 and "brevity-1" in fact(out, "judge"),
    ),
    Kind(
        "rote",
        "students/methods/rote.py",
        METHOD,
        taught,
        "student.times=0",
        "student.times: Input should be greater than or equal to 1, found 0",
        lambda result, out: (
            (out / "student" / "merged" / "learnt.txt").read_text().count("####") == 2 * result["rows"] > 0
        ),
    ),
    Kind(
        "doubles",
        "traces/tasks/doubles.py",
        SOURCE,
        doubled,
        "tasks.most=0",
        "tasks.most: Input should be greater than or equal to 1, found 0",
        lambda result, out: result["tasks"] == result["rows"] == 5,
    ),
    Kind(
        "greeting",
        "pipeline/flows/greeting.py",
        FLOW,
        greeting,
        "greet=",
        "greet: Input should be a valid string, found None",
        lambda result, out: (
            result == {"said": "Hello, world!"} and (out / "greeting.txt").read_text() == "Hello, world!"
        ),
    ),
]


# All in one process: each of them starts by importing most of Stillroom.
DRIVER = """
import json, runpy, sys
from pathlib import Path
from typer.testing import CliRunner
import stillroom
from stillroom.cli.app import app
from stillroom.errors import RecipeError

recipe, wrong = sys.argv[1:]
help = CliRunner().invoke(app, ["run", "--help"]).output
docs = [runpy.run_path(str(path))["text"]() for path in sorted(Path("scripts").glob("*_docs.py"))]
heavy = sorted({"torch", "transformers", "vllm", "datasets", "sympy"} & sys.modules.keys())
try:
    refused = stillroom.run(recipe, set=[wrong], out="refused").as_dict()
except RecipeError as error:
    refused = str(error)
result = stillroom.run(recipe, out="run").as_dict()
found = {"file": stillroom.__file__, "help": help, "docs": docs, "heavy": heavy, "refused": refused, "result": result}
Path("found.json").write_text(json.dumps(found))
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the source tree: the rooms, the links to them, the docs, and the scripts that write them."""
    links = [path for path in (ROOT / "stillroom").iterdir() if path.is_symlink()]
    if not links:
        pytest.skip("a checkout with symlinks off")
    for name in ("stillroom", "scripts", "docs", *(link.name for link in links)):
        shutil.copytree(ROOT / name, tmp_path / "tree" / name, symlinks=True)
    return tmp_path / "tree"


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_one_new_module_is_validated_listed_and_run(kind: Kind, tree: Path, tmp_path: Path) -> None:
    (tree / kind.path).write_text(kind.module)
    (tmp_path / "recipe").mkdir()
    recipe = kind.recipe(tmp_path / "recipe")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DRIVER, recipe, kind.wrong],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tree / "found.json").read_text())
    assert found["file"] == str(tree / "stillroom" / "__init__.py")
    assert re.search(rf"\b{kind.name}\b", found["help"])
    assert any(re.search(rf"\b{kind.name}\b", page) for page in found["docs"])
    assert found["heavy"] == []
    assert kind.said in found["refused"]
    assert kind.used(found["result"], tree / "run")


TAUGHT = """
import json, sys
from pathlib import Path
from stillroom.students.methods.sft import Sft
from stillroom.students.methods.registry import methods

taught = []
Sft.train = lambda self, rows, out, **how: taught.append([row["task_id"] for row in rows])
Sft.lint = lambda self, rows, **how: taught.append([row["task_id"] for row in rows])
method = methods["short_sft"](model="m", share=0.5)
rows = [{"task_id": n, "completion": [{"content": "x" * (9 - n)}]} for n in range(4)]
method.train(rows, Path("out"), seed=0)
method.lint(rows)
print(json.dumps(taught))
"""


def test_the_training_method_of_the_page_passes_the_shortest_rows_on(tree: Path) -> None:
    path = "students/methods/short_sft.py"
    (tree / path).write_text(from_page(path))
    done = subprocess.run(
        [sys.executable, "-c", TAUGHT],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[[3, 2], [3, 2]]", done.stderr


def test_no_such_kind_is_there_before() -> None:
    """What the test above finds is from the new module."""
    done = subprocess.run(
        [sys.executable, "-m", "stillroom", "run", "--help"], capture_output=True, text=True, timeout=120, check=True
    )
    assert [kind.name for kind in KINDS if re.search(rf"\b{kind.name}\b", done.stdout)] == []
