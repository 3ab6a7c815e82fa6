"""The house: who may import whom, how fast the import is, what is documented, and what a wheel holds."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ("common", "sampling", "traces", "judges", "preferences", "students", "evaluation", "report", "pipeline")
"""The rooms with code, each of which may import those before it; but traces and judges know nothing of each other."""
APART = {"traces": {"judges", "preferences"}, "judges": {"traces"}, "preferences": {"traces"}}
MAY_IMPORT = {room: set(ORDER[:place]) - APART.get(room, set()) for place, room in enumerate(ORDER)} | {
    "recipes": set()
}
PIPELINE = ("config", "run", "stages", "planning", "flows")
"""The parts of the pipeline, each of which may import those before it."""
ROOMS = sorted(MAY_IMPORT)
HEAVY = {
    "torch",
    "matplotlib",
    "transformers",
    "vllm",
    "datasets",
    "sympy",
    "pydantic",
    "openai",
    "aiohttp",
    "trl",
    "peft",
    "math_verify",
}
IMPORT_BUDGET_S = 0.3


def room_files(room: str) -> list[Path]:
    return sorted(path for path in (ROOT / room).rglob("*.py") if "__pycache__" not in path.parts)


def product_files() -> list[Path]:
    own = [*(ROOT / "stillroom").glob("*.py"), *(ROOT / "stillroom" / "cli").glob("*.py")]
    return [*own, *(path for room in ROOMS for path in room_files(room))]


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, also within functions and by name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif (
            isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module"
        ):
            yield from (str(arg.value) for arg in node.args if isinstance(arg, ast.Constant))


# -- imports -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_down_the_list_only(room: str) -> None:
    allowed = {room, "errors", "version"} | MAY_IMPORT[room]
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in room_files(room)
        for name in imported(path)
        if name.split(".")[0] == "stillroom" and name.split(".")[1] not in allowed
    ]
    assert wrong == []


def test_parts_of_the_pipeline_import_down_their_order_only() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for place, part in enumerate(PIPELINE)
        for path in room_files(f"pipeline/{part}")
        for name in imported(path)
        if name.startswith("stillroom.pipeline.") and name.split(".")[2] not in PIPELINE[: place + 1]
    ]
    assert wrong == []


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts if parts[0] == "stillroom" else ("stillroom", *parts))
    return name.removesuffix(".__init__")


def imports_of_modules(paths: Iterable[Path]) -> dict[str, set[str]]:
    """By module, those of ours that it imports: at once, for its types, or within a function."""
    names = {module_of(path): path for path in paths}
    return {
        module: {found for name in imported(path) if (found := _known(name, names)) is not None} - {module}
        for module, path in names.items()
    }


def _known(name: str, modules: Mapping[str, object]) -> str | None:
    return name if name in modules else parent if (parent := name.rpartition(".")[0]) in modules else None


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other (Tarjan's strongly connected components)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for other in sorted(graph[module]):
            if other not in order:
                visit(other)
            if other in stack:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == order[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            found.append(sorted(group))

    for module in graph:
        if module not in order:
            visit(module)
    return [group for group in found if len(group) > 1]


SETTINGS_AND_WHAT_THEY_MAKE = ["", ".batch.teacher", ".teacher"]
"""The one circle: a teacher's settings import the teacher when they make it, and it imports them."""


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = [f"stillroom.sampling.teachers.openai{part}" for part in SETTINGS_AND_WHAT_THEY_MAKE]
    assert [sorted(group) for group in circles(imports_of_modules(product_files()))] == [known]


def test_this_test_finds_circles() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_recipes_hold_no_engine() -> None:
    assert [path.name for path in room_files("recipes")] == ["__init__.py"]


def test_no_assert_of_the_pipeline_stands_in_for_a_type() -> None:
    """What cannot be None has a type that says so."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in room_files("pipeline")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert)
    ]
    assert wrong == []


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_are_imported_under_the_one_name_and_without_tests(room: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in room_files(room)
        for name in imported(path)
        if name.split(".")[0] in {*ROOMS, "tests"}
    ]
    assert wrong == []


def test_errors_import_nothing_of_ours() -> None:
    assert [name for name in imported(ROOT / "stillroom" / "errors.py") if name.startswith("stillroom")] == []


def test_tests_of_a_room_import_no_tests_of_another() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / "tests").rglob("*.py")
        for name in imported(path)
        if name.startswith("tests.")
        and not name.startswith("tests.conftest.")
        # a test may share helpers with its own folder
        and name.split(".")[1:-2] != list(path.relative_to(ROOT / "tests").parts[:-1])
    ]
    assert wrong == []


def test_this_test_finds_imports_within_functions(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        "import a.b\ndef f():\n    from stillroom.traces import rows\n    import_module('stillroom.judges')\n"
    )
    assert list(imported(path)) == ["a.b", "stillroom.traces.rows", "stillroom.judges"]


# -- import time -------------------------------------------------------------------------------------------------


def cpu_s(code: str) -> float:
    """CPU seconds of a new interpreter that runs `code`: a busy machine does not stretch them as it does a clock."""
    timed = f"{code}\nimport resource as r; used = r.getrusage(r.RUSAGE_SELF)\nprint(used.ru_utime + used.ru_stime)"
    done = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True, timeout=60)
    return float(done.stdout.split()[-1])


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource usage")
@pytest.mark.parametrize("module", ["stillroom", "stillroom.cli.app"])
def test_importing_is_fast(module: str) -> None:
    """Best of five against the best of five bare interpreters."""
    bare = min(cpu_s("pass") for _ in range(5))
    assert min(cpu_s(f"import {module}") for _ in range(5)) - bare < IMPORT_BUDGET_S


@pytest.mark.parametrize(
    "module",
    ["stillroom", "stillroom.cli.app", "stillroom.errors"],
)
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []


def test_every_call_of_the_package_can_be_had_and_no_other() -> None:
    import stillroom

    for name in stillroom.__all__:
        assert callable(getattr(stillroom, name))
    assert {*stillroom.__all__, "__version__"} <= set(dir(stillroom))
    with pytest.raises(AttributeError, match="no attribute 'judge_everything'"):
        stillroom.judge_everything  # noqa: B018 - the access is what is tested


# -- documentation -----------------------------------------------------------------------------------------------


def undocumented(paths: Iterable[Path]) -> Iterator[str]:
    """What has no docstring, though it is public. A method needs none where it has one in a base class, or in a
    protocol that its class follows."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    classes = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    protocols = [node for node in classes if "Protocol" in _bases(node)]
    by_name = {node.name: node for node in classes}
    for path, tree in trees.items():
        if ast.get_docstring(tree) is None:
            yield f"{path.name}: the module"
        # Within a module that is private itself, nothing is public.
        public = () if path.name.startswith("_") and path.name != "__init__.py" else _public(tree.body)
        for node, parent in public:
            inherited = set() if parent is None else _documented_above(parent, by_name, protocols)
            if ast.get_docstring(node) is None and node.name not in inherited:
                yield f"{path.name}:{node.lineno}: {node.name}"


Public = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _public(body: list[ast.stmt], parent: ast.ClassDef | None = None) -> Iterator[tuple[Public, ast.ClassDef | None]]:
    for node in body:
        if isinstance(node, Public) and not node.name.startswith("_"):
            marks = {getattr(mark, "attr", getattr(mark, "id", "")) for mark in node.decorator_list}
            if marks & {"setter", "overload"}:
                continue
            yield node, parent
            # A protocol says in its own docstring what its members are.
            if isinstance(node, ast.ClassDef) and "Protocol" not in _bases(node):
                yield from _public(node.body, node)


def _bases(node: ast.ClassDef) -> set[str]:
    plain = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
    return {getattr(base, "id", getattr(base, "attr", "")) for base in plain}


def _documented_above(
    node: ast.ClassDef, classes: Mapping[str, ast.ClassDef], protocols: list[ast.ClassDef]
) -> set[str]:
    """The methods with a docstring of the base classes of a class, and of the protocols all of whose members it has."""
    above: list[ast.ClassDef] = []
    waiting = [node]
    while waiting:
        found = [classes[name] for name in _bases(waiting.pop()) if name in classes]
        waiting += [base for base in found if base not in above and base is not node]
        above += found
    own = set().union(*map(_members, [node, *above]))
    above += [protocol for protocol in protocols if _members(protocol) <= own]
    methods = [
        each for base in above for each in base.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return {method.name for method in methods if ast.get_docstring(method) is not None}


def _members(node: ast.ClassDef) -> set[str]:
    """Methods, fields, and what its methods assign to `self`."""
    methods = {each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    stored = [each for each in ast.walk(node) if isinstance(getattr(each, "ctx", None), ast.Store)]
    return methods | {getattr(each, "attr", getattr(each, "id", "")) for each in stored}


def test_everything_public_says_what_it_does() -> None:
    lines = list(undocumented(product_files()))
    assert not lines, "\n".join(lines)


def test_this_test_finds_what_is_not_documented(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        '"""A module."""\nclass Base:\n    """Has one."""\n    def told(self):\n        """Says it."""\n'
        'class Heir(Base):\n    """Has one."""\n    def told(self): ...\n    def untold(self): ...\n'
    )
    assert list(undocumented([path])) == ["a.py:9: untold"]


def test_functions_stay_within_sixty_lines() -> None:
    functions = [
        (f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1)
        for path in product_files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [(name, lines) for name, lines in functions if lines > 60] == []


# -- files -------------------------------------------------------------------------------------------------------

# Hosts of registries and folders of one machine have no place in a product. In two parts, so as not to find itself.
_PLACES = "|".join(
    ["pypi" + r"\.org", "files" + r"\.pythonhosted", "/wo" + "rk/", "(?<![a-z.])/t" + "mp/", "/ro" + "ot/"]
)


def test_no_file_names_a_registry_or_a_folder_of_one_machine() -> None:
    wrong = [
        f"{name}:{number}: {line.strip()[:80]}"
        for name in _tracked()
        if (ROOT / name).is_file() and not (ROOT / name).is_symlink()
        for number, line in enumerate(_text(ROOT / name).splitlines(), 1)
        if re.search(_PLACES, line)
    ]
    assert wrong == []


def _text(path: Path) -> str:
    """Of a picture, what its bytes say in Latin letters: its metadata may name a folder, too."""
    return path.read_text(encoding="latin-1" if path.suffix == ".png" else "utf-8", errors="replace")


def _tracked() -> list[str]:
    """Files under version control, and those that will be."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return done.stdout.splitlines()


@pytest.mark.parametrize("room", ROOMS)
def test_links_to_the_rooms_are_relative(room: str) -> None:
    link = ROOT / "stillroom" / room
    if not link.is_symlink() and link.is_file():
        pytest.skip("a checkout with symlinks off")
    assert link.is_symlink()
    assert str(link.readlink()) == f"../{room}"
    assert (link / "__init__.py").is_file()


# -- the wheel ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names in a wheel that is built from a copy, so that no build folder is left here."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("wheel")
    for name in _tracked():
        source, target = ROOT / name, folder / "copy" / name
        if not source.is_file() and not source.is_symlink():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        else:
            target.write_bytes(source.read_bytes())
    code = f"from setuptools import build_meta; print(build_meta.build_wheel({str(folder)!r}))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=folder / "copy", capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(folder / done.stdout.split()[-1]) as archive:
        return archive.namelist()


def test_a_wheel_installs_nothing_beside_the_one_name(wheel: list[str]) -> None:
    assert {name.split("/")[0] for name in wheel if ".dist-info/" not in name} == {"stillroom"}


def test_a_wheel_holds_every_module_recipe_and_text(wheel: list[str]) -> None:
    expected = {f"stillroom/{path.name}" for path in (ROOT / "stillroom").glob("*.py")}
    for room in ROOMS:
        files = [
            path
            for ending in ("py", "yaml", "md", "html", "css", "jinja")
            for path in (ROOT / room).rglob(f"*.{ending}")
        ]
        expected |= {f"stillroom/{path.relative_to(ROOT)}" for path in files if "__pycache__" not in path.parts}
    expected |= {"stillroom/py.typed", "stillroom/recipes/schema.json"}
    assert expected - set(wheel) == set()
    assert any(name.startswith("stillroom/recipes/") and name.endswith("/recipe.yaml") for name in wheel)


def test_a_wheel_holds_no_tests_and_no_leavings(wheel: list[str]) -> None:
    left = re.compile(r"(?:^|/)(?:tests?/|test_|conftest|[^/]*_test\.py|__pycache__)")
    assert [name for name in wheel if left.search(name)] == []
