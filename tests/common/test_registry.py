"""The registry by kind: what it finds, how a field of a recipe uses it, and what a mistake is told as."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stillroom.common import registry
from stillroom.common.registry import Registry
from stillroom.errors import InputError, PluginError


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def area(self) -> float:
        raise NotImplementedError


@pytest.fixture
def shapes() -> Registry[Shape]:
    made: Registry[Shape] = Registry("shape", tag="kind")

    @made.register
    class Square(Shape):
        kind: Literal["square"]
        side: float = Field(gt=0)

        def area(self) -> float:
            return self.side**2

    @made.register
    class Box(Shape):
        kind: Literal["box"]
        sides: tuple[float, ...] = (1.0,)

    return made


@pytest.fixture
def drawing(shapes: Registry[Shape]) -> type[BaseModel]:
    class Drawing(BaseModel):
        main: Annotated[Shape, shapes.field()]
        more: tuple[Annotated[Shape, shapes.field(without={"box"})], ...] = ()

    return Drawing


# -- a field of a recipe -----------------------------------------------------------------------------------------


def test_a_field_holds_the_kind_that_its_tag_names(drawing: type[BaseModel]) -> None:
    found: Any = drawing.model_validate({"main": {"kind": "square", "side": 3}})
    assert found.main.area() == 9
    assert drawing.model_validate({"main": found.main}) == found


def test_the_fields_of_a_kind_are_written_and_read_back(drawing: type[BaseModel]) -> None:
    given = {"main": {"kind": "box", "sides": [1, 2]}, "more": [{"kind": "square", "side": 2}]}
    found = drawing.model_validate(given)
    assert found.model_dump(mode="json") == given
    assert drawing.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("given", "loc", "said"),
    [
        (
            {"kind": "sqare"},
            ("main", "kind"),
            "there is no 'sqare'; did you mean 'square'? expected one of box, square",
        ),
        ({"kind": 7}, ("main", "kind"), "there is no 7; expected one of box, square"),
        ({"kind": "{x}"}, ("main", "kind"), "there is no '{x}'"),
        ({"side": 7}, ("main", "kind"), "this key is missing: give one of box, square"),
        ({"kind": "square"}, ("main", "side"), "Field required"),
        ({"kind": "square", "side": 0}, ("main", "side"), "greater than 0"),
        ({"kind": "box", "sides": [1, "x"]}, ("main", "sides", 1), "valid number"),
        ({"kind": "square", "side": 1, "sied": 1}, ("main", "sied"), "not permitted"),
        (5, ("main",), "valid dictionary"),
        (None, ("main",), "valid dictionary"),
    ],
)
def test_a_mistake_is_reported_where_it_stands(
    drawing: type[BaseModel], given: Any, loc: tuple[str | int, ...], said: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        drawing.model_validate({"main": given})
    [error] = refused.value.errors()
    assert error["loc"] == loc
    assert said in error["msg"]


def test_mistakes_of_several_fields_are_reported_together(drawing: type[BaseModel]) -> None:
    more = [{"kind": "square", "side": 1}, {"kind": "square", "side": -1}, {"kind": "box"}]
    with pytest.raises(ValidationError) as refused:
        drawing.model_validate({"main": {"kind": "sqare"}, "more": more})
    assert [each["loc"] for each in refused.value.errors()] == [
        ("main", "kind"),
        ("more", 1, "side"),
        ("more", 2, "kind"),
    ]


def test_a_kind_may_be_registered_after_the_class_with_the_field(
    shapes: Registry[Shape], drawing: type[BaseModel]
) -> None:
    @shapes.register
    class Dot(Shape):
        kind: Literal["dot"]

    assert drawing.model_validate({"main": {"kind": "dot"}}) is not None
    assert list(shapes) == ["box", "dot", "square"]


def test_without_a_tag_the_default_is_meant() -> None:
    made: Registry[Shape] = Registry("shape", tag="kind", default="dot")

    @made.register
    class Dot(Shape):
        kind: Literal["dot"] = "dot"

    class Drawing(BaseModel):
        main: Annotated[Shape, made.field()]

    assert isinstance(Drawing.model_validate({"main": {}}).main, Dot)


def test_the_schema_for_editors_knows_every_kind(drawing: type[BaseModel]) -> None:
    schema = drawing.model_json_schema()
    kinds = schema["properties"]["main"]["oneOf"]
    assert [each["properties"]["kind"]["const"] for each in kinds] == ["box", "square"]
    assert len(schema["properties"]["more"]["items"]["oneOf"]) == 1


# -- registering -------------------------------------------------------------------------------------------------


def test_a_name_is_taken_once(shapes: Registry[Shape]) -> None:
    with pytest.raises(InputError, match=r"there are two shapes 'box': .*\.Box and .*\.Other: rename one") as refused:

        @shapes.register
        class Other(Shape):
            kind: Literal["box"]

    assert refused.value.exit_code == 2


def test_the_same_class_may_be_made_again(shapes: Registry[Shape]) -> None:
    for _ in range(2):

        @shapes.register
        class Dot(Shape):
            kind: Literal["dot"]

    assert shapes["dot"] is Dot


def test_a_kind_needs_a_name(shapes: Registry[Shape]) -> None:
    with pytest.raises(InputError, match=r'has no name: give it the field kind: Literal\["its_name"\]'):
        shapes.register(Shape)

    class Method:
        """Not settings: a name is given with it."""

    methods: Registry[Any] = Registry("method", tag="method")
    methods.register(name="own")(Method)
    assert dict(methods) == {"own": Method}


# -- modules and plug-ins ----------------------------------------------------------------------------------------

KIND = """
from typing import Literal
from stillroom.traces.filters.base import FilterSettings, filters

@filters.register
class Throwaway(FilterSettings):
    name: Literal["throwaway"] = "throwaway"
    most: int = 3
    def start(self, test):
        return lambda trace: None
"""


def python(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    """Runs code in a new interpreter with folders before its path."""
    words = [sys.executable, "-c", f"import sys; sys.path[:0] = {[str(p) for p in path]!r}\n{code}"]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def test_a_new_module_in_the_package_is_enough(tmp_path: Path) -> None:
    (tmp_path / "throwaway.py").write_text(KIND)
    (tmp_path / "_private.py").write_text("raise RuntimeError('it is not imported')")
    done = python(
        "import stillroom.traces.filters as package\n"
        f"package.__path__.append({str(tmp_path)!r})\n"
        "from pydantic import TypeAdapter\n"
        "print(TypeAdapter(package.Filters).validate_python([{'throwaway': {'most': 5}}]))"
    )
    assert done.stdout.strip() == "(Throwaway(name='throwaway', most=5),)", done.stderr


ONE_MODULE = {
    "stillroom.traces.filters": KIND,
    "stillroom.judges": """
from typing import Literal
from stillroom.judges.readability import ReadabilityJudge
from stillroom.judges.registry import JudgeBase, Made, Place, judges

@judges.register
class Throwaway(JudgeBase):
    kind: Literal["throwaway"]
    def make(self, place: Place) -> Made:
        return Made(ReadabilityJudge(), None)
""",
    "stillroom.sampling.teachers": """
from typing import Literal
from stillroom.sampling.teachers.base import TeacherBase, teachers
from stillroom.sampling.teachers.scripted import ScriptedTeacher

@teachers.register
class Throwaway(TeacherBase):
    kind: Literal["throwaway"]
    model: str = "echo"
    concurrency: int = 2
    def make(self, base):
        return ScriptedTeacher(lambda request: request.messages[-1].content, identity="echo")
""",
    "stillroom.traces.tasks": """
from typing import Literal
from stillroom.traces.tasks.registry import CommonTasks, Row, Source, sources

@sources.register
class Throwaway(CommonTasks):
    source: Literal["throwaway"]
    most: int = 5
    def open(self, base, seed):
        return Source([Row(f"row {n}", {"question": f"{n}?", "answer": str(n)}) for n in range(self.most)], None)
""",
    "stillroom.sampling.scorers": """
from typing import Literal
from stillroom.sampling.scorers.none import FinishedScorer
from stillroom.sampling.scorers.base import ScorerBase, scorers

@scorers.register
class Throwaway(ScorerBase):
    kind: Literal["throwaway"]
    def identity(self, base):
        return FinishedScorer.identity
    def make(self, place):
        return FinishedScorer()
""",
}
RECIPE = """
name: one
tasks: {source: throwaway, most: 7}
teacher: {kind: throwaway}
filters: [throwaway]
"""
USE = """
import asyncio
from importlib import import_module
from pathlib import Path
from pydantic import TypeAdapter
for package in packages:
    import_module(package).__path__.append(folder + "/" + package)

from stillroom.judges.registry import JudgeSettings, Place
from stillroom.pipeline.config.load import dump, load_recipe
from stillroom.sampling.core import Core
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.scorers.base import ScorerSettings
from stillroom.traces.filters import Screen
from stillroom.traces.tasks import load_tasks
from stillroom.traces.trace import traces_in

async def main():
    recipe = load_recipe(folder + "/recipe.yaml").recipe
    assert "kind: throwaway" in dump(recipe)
    tasks = load_tasks(recipe.tasks, base=Path(folder), seed=0)
    with Ledger.open(Path(folder) / "ledger.sqlite") as ledger:
        place = Place(ledger, Path(folder))
        scorer = TypeAdapter(ScorerSettings).validate_python({"kind": "throwaway"}).make(place)
        outcomes = []
        teacher = recipe.teacher.make(Path(folder))
        core = Core(teacher, scorer, recipe.keep, ledger, sampling=recipe.teacher.sampling, seed=0)
        await core.run(tasks.train, outcomes.append)
        judge = TypeAdapter(JudgeSettings).validate_python({"kind": "throwaway"}).make(place)
        rating = await judge.pointwise.rate(outcomes[0].task, outcomes[0].attempts[0].attempt)
    traces = [trace for outcome in outcomes for trace in traces_in(outcome)]
    screen = Screen(recipe.filters, test=())
    kept = [trace for trace in traces if screen.look(trace) is None]
    print(len(tasks.train), len(outcomes), len(kept), rating.state)

asyncio.run(main())
"""


def test_each_kind_is_one_module_and_nothing_else(tmp_path: Path) -> None:
    """From validation to a run. A package's modules are all that lie on its path, so a second folder stands for it."""
    for package, code in ONE_MODULE.items():
        (tmp_path / package).mkdir()
        (tmp_path / package / "throwaway.py").write_text(code)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    done = python(f"packages, folder = {list(ONE_MODULE)!r}, {str(tmp_path)!r}\n{USE}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-4:] == ["7", "7", "7", "ok"]
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("most: 7", "mots: 7"))
    done = python(f"packages, folder = {list(ONE_MODULE)!r}, {str(tmp_path)!r}\n{USE}")
    assert "line 3: tasks.mots: unknown key; did you mean 'most'?" in done.stderr


def distribution(folder: Path, entry: str) -> None:
    """An installed distribution with one entry point."""
    info = folder / "some_plugin-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-plugin\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[stillroom.plugins]\nmine = {entry}\n")


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ("some_plugin", KIND),
        ("some_plugin:setup", "def setup():\n    import some_plugin_parts"),
    ],
)
def test_an_entry_point_adds_kinds(tmp_path: Path, entry: str, code: str) -> None:
    (tmp_path / "some_plugin.py").write_text(code)
    (tmp_path / "some_plugin_parts.py").write_text(KIND)
    distribution(tmp_path, entry)
    done = python("from stillroom.traces.filters.base import filters; print(filters['throwaway'])", tmp_path)
    assert "Throwaway" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("1 / 0", "ZeroDivisionError"),
        (KIND.replace("throwaway", "dedup"), "there are two filters 'dedup'"),
    ],
)
def test_a_broken_plugin_is_one_message(tmp_path: Path, code: str, said: str) -> None:
    (tmp_path / "some_plugin.py").write_text(code)
    distribution(tmp_path, "some_plugin")
    ask = "from stillroom.cli.app import main; sys.argv = ['stillroom', 'run', 'quickstart', '--set', 'nothing=1']; main()"
    done = python(ask, tmp_path)
    message = " ".join(done.stderr.split())
    assert done.returncode == 2, message
    assert "the plug-in 'mine' (some_plugin) of some-plugin 1.2 cannot be loaded" in message
    assert said in message
    assert "Traceback" not in message


def test_a_plugin_that_failed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that every look-up says what is wrong, not only the first."""
    point = importlib.metadata.EntryPoint("mine", "no_such_module_here", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    monkeypatch.setattr(registry, "_load_plugins", registry._Once(registry._load_every_plugin))
    for _ in range(2):
        with pytest.raises(PluginError, match="an unknown distribution"):
            len(Registry("shape", tag="kind"))


# -- the shipped kinds -------------------------------------------------------------------------------------------


def shipped() -> list[Registry[Any]]:
    from stillroom.judges.registry import judges
    from stillroom.sampling.policy import policies
    from stillroom.sampling.teachers.base import teachers
    from stillroom.traces.filters.base import filters
    from stillroom.traces.tasks.registry import sources

    return [judges, policies, teachers, filters, sources]


def test_looking_kinds_up_loads_nothing_heavy() -> None:
    code = (
        "from stillroom.judges.registry import judges\n"
        "from stillroom.sampling.teachers.base import teachers\n"
        "from stillroom.traces.filters.base import filters\n"
        "from stillroom.traces.tasks.registry import sources\n"
        "print(len(judges), len(teachers), len(filters), len(sources))\n"
        "heavy = {'torch', 'transformers', 'vllm', 'openai', 'aiohttp', 'datasets', 'sympy'} & sys.modules.keys()\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kinds", shipped(), ids=lambda kinds: kinds.what)
def test_every_shipped_kind_has_a_schema_that_json_can_hold(kinds: Registry[Any]) -> None:
    for model in kinds.values():
        assert json.dumps(model.model_json_schema())
        assert model.__doc__
