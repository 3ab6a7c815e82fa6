"""Code of the user's that a recipe names: who may run it, what it may do, and what is told of it when it goes wrong."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from stillroom.common.records import Attempt, Outcome, Request, SamplingParams, State, Task, Usage, Verdict, user
from stillroom.errors import InputError, MissingFile, RecipeError, RequestFailed
from stillroom.sampling import plugins
from stillroom.sampling.core import Core
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.plugins import check_codes, codes_in, require_trust
from stillroom.sampling.policy import Until
from stillroom.sampling.scorers.base import Place, ScorerBase, ScorerSettings
from stillroom.sampling.teachers.base import TeacherSettings
from stillroom.sampling.teachers.scripted import ScriptedTeacher

SCORERS: TypeAdapter[Any] = TypeAdapter(ScorerSettings)
TEACHERS: TypeAdapter[Any] = TypeAdapter(TeacherSettings)
TASK = Task("t", user("2 + 2?"), "4", "by hand", {"level": 3})
ATTEMPT = Attempt("t", 0, "It is 4", None, "stop", 3, 3, None, 0.1, "m")
on_linux = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")


@pytest.fixture(autouse=True)
def _nothing_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_trusted", set())


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.sqlite") as opened:
        yield opened


Score = Callable[..., Verdict]


@pytest.fixture
def score(tmp_path: Path, ledger: Ledger) -> Score:
    """The verdict of a function with this body on an attempt."""

    def scored(code: str, attempt: Attempt = ATTEMPT, **settings: Any) -> Verdict:
        found = scorer(tmp_path, code, **settings)
        trust(found, tmp_path)
        return asyncio.run(once(found, Place(ledger, tmp_path), attempt))

    return scored


async def once(settings: ScorerBase, place: Place, attempt: Attempt) -> Verdict:
    made = settings.make(place)
    try:
        return await made.score(TASK, attempt)
    finally:
        await made.close()


def scorer(folder: Path, code: str, **settings: Any) -> Any:
    (folder / "mine.py").write_text(code)
    return SCORERS.validate_python({"kind": "python", "path": "mine.py:score", **settings})


class Holder(BaseModel):
    """A recipe with code in it."""

    scorer: Any
    more: tuple[Any, ...] = ()


def trust(settings: Any, folder: Path) -> None:
    require_trust(codes_in(Holder(scorer=settings), folder), trust=True)


# -- what a function may return ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "settings", "verdict"),
    [
        ("def score(task, attempt): return task.reference in attempt.text", {}, (State.ACCEPTED, "good", None)),
        ("def score(task, attempt): return False", {}, (State.REJECTED, "bad", None)),
        (
            "def score(task, attempt): return task.metadata['level'] / 4",
            {"accept": 0.5},
            (State.ACCEPTED, "good", 0.75),
        ),
        ("def score(task, attempt): return 0", {"accept": 0.5}, (State.REJECTED, "bad", 0.0)),
        ("def score(task, attempt, words=9): return words == 3", {"words": 3}, (State.ACCEPTED, "good", None)),
        ("def score(task, attempt, **more): return more == {'a': [1]}", {"a": [1]}, (State.ACCEPTED, "good", None)),
        ("async def score(task, attempt): return attempt.index == 0", {}, (State.ACCEPTED, "good", None)),
        (
            "from stillroom.common.records import State, Verdict\n"
            "def score(task, attempt): return Verdict(State.UNSCORED, 'no_idea', 0.5, 'hm')",
            {},
            (State.UNSCORED, "no_idea", 0.5),
        ),
        (
            "class Score:\n def __call__(self, task, attempt): return True\nscore = Score()",
            {},
            (State.ACCEPTED, "good", None),
        ),
        ("import helper\ndef score(task, attempt): return helper.YES", {}, (State.ACCEPTED, "good", None)),
    ],
)
def test_a_plain_function_scores(
    score: Score, tmp_path: Path, code: str, settings: dict[str, Any], verdict: tuple[State, str, float | None]
) -> None:
    (tmp_path / "helper.py").write_text("YES = True")
    found = score(code, **settings)
    assert (found.state, found.reason, found.score) == verdict


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def score(task, attempt): return 0.7", "returned the number 0.7: say in scorer.accept"),
        ("def score(task, attempt): return float('nan')", "returned nan, expected True, False, a number"),
        ("def score(task, attempt): return 'yes'", "returned 'yes', expected True"),
        ("def score(task, attempt): pass", "returned None, expected True"),
        ("def score(task, attempt): return [1]", "returned a list"),
        ("def score(task, attempt):\n    a = 0\n    return 1 / a", "mine.py:3: ZeroDivisionError: division by zero"),
        ("async def score(task, attempt):\n    return attempt.txt", "mine.py:2: AttributeError"),
        ("import json\ndef score(task, attempt):\n    return json.loads('{')", "mine.py:3: JSONDecodeError"),
        ("import sys\ndef score(task, attempt):\n    sys.exit(3)", "mine.py:3: SystemExit: 3"),
        (
            "def score(task, attempt):\n    print('so far')\n    raise ValueError",
            "ValueError (it had printed: so far)",
        ),
        ("async def score(task, attempt): raise TimeoutError('mine')", "TimeoutError: mine"),
    ],
)
def test_what_is_no_verdict_is_unscored_and_told_with_its_line(score: Score, code: str, said: str) -> None:
    found = score(code)
    assert (found.state, found.reason) == (State.UNSCORED, "error")
    assert said in found.detail


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"finish_reason": "length"}, "truncated"),
        ({"finish_reason": "content_filter"}, "filtered"),
        ({"text": " "}, "empty"),
    ],
)
def test_an_unfinished_answer_is_not_shown_to_the_function(
    score: Score, changes: dict[str, Any], reason: str
) -> None:
    found = score("def score(task, attempt): raise RuntimeError", replace(ATTEMPT, **changes))
    assert (found.state, found.reason) == (State.UNSCORED, reason)


# -- limits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "def score(task, attempt):\n while True: pass",
        "import time\ndef score(task, attempt): time.sleep(60)",
        "import asyncio\nasync def score(task, attempt): await asyncio.sleep(60)",
    ],
)
def test_a_hang_is_a_timeout(score: Score, code: str) -> None:
    found = score(code, timeout_s=0.2)
    assert (found.state, found.reason) == (State.UNSCORED, "timeout")
    assert "0.2 s" in found.detail


@on_linux
def test_memory_is_limited(score: Score) -> None:
    found = score("def score(task, attempt):\n return len(bytearray(1 << 32)) > 0", memory_mb=1024, timeout_s=30)
    assert (found.state, found.reason) == (State.UNSCORED, "over_limit")
    assert "mine.py:2: MemoryError" in found.detail


def test_a_crash_costs_one_verdict(score: Score) -> None:
    found = score("import os\ndef score(task, attempt): os._exit(7)")
    assert (found.state, found.reason) == (State.UNSCORED, "over_limit")
    assert "code 7" in found.detail


def test_what_it_prints_goes_nowhere(score: Score, capfd: pytest.CaptureFixture[str]) -> None:
    code = """
import os, sys
print("while it is loaded")
def score(task, attempt):
    print("{}"); print("x", file=sys.stderr); os.write(1, b"raw"); os.write(2, b"raw"); os.system("echo shell")
    print("x" * 1_000_000)
    return True
"""
    assert score(code).state is State.ACCEPTED
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("define", ["def", "async def"])
def test_a_key_that_it_raises_is_not_kept(score: Score, monkeypatch: pytest.MonkeyPatch, define: str) -> None:
    monkeypatch.setenv("SERVICE_API_KEY", "q8Zr41LmXw90")
    found = score(f"import os\n{define} score(task, attempt):\n raise ValueError(os.environ['SERVICE_API_KEY'])")
    assert found.detail == "mine.py:3: ValueError: ***"


async def test_what_an_async_function_prints_goes_nowhere(
    tmp_path: Path, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    code = """
import asyncio, sys
print("while it is loaded")
async def more(): print("from a task of its own")
async def score(task, attempt):
    print("before")
    await asyncio.gather(asyncio.sleep(0.05), asyncio.create_task(more()))
    print("after", file=sys.stderr)
    return True
"""
    settings = scorer(tmp_path, code)
    trust(settings, tmp_path)
    made = settings.make(Place(ledger, tmp_path))

    async def ours() -> None:
        for _ in range(5):
            await asyncio.sleep(0.01)
            print("ours", end=" ")

    verdicts = await asyncio.gather(*(made.score(TASK, ATTEMPT) for _ in range(3)), ours())
    await made.close()
    assert [verdict.reason for verdict in verdicts[:3] if verdict is not None] == ["good"] * 3
    print("last", end="")
    assert capsys.readouterr() == ("ours " * 5 + "last", "")


def test_a_copy_of_the_worker_answers_nothing(tmp_path: Path, ledger: Ledger) -> None:
    code = "import os\ndef score(task, attempt):\n return attempt.index == 0 if os.fork() else True"
    settings = scorer(tmp_path, code, workers=1)
    trust(settings, tmp_path)

    async def both() -> list[Verdict]:
        made = settings.make(Place(ledger, tmp_path))
        found = [await made.score(TASK, replace(ATTEMPT, index=index)) for index in (0, 1, 1)]
        await made.close()
        return found

    assert [verdict.reason for verdict in asyncio.run(both())] == ["good", "bad", "bad"]


LEAK = """
import os, subprocess, sys
def score(task, attempt, how, then):
    code = "import os, sys, time\\nif sys.argv[1] == 'daemon' and os.fork(): sys.exit()\\ntime.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", code, how], start_new_session=how != "child")
    if how == "daemon": child.wait()
    open("pids", "a").write(f"{child.pid} ")
    if then == "hangs":
        while True: pass
    if then == "dies": os._exit(1)
    return True
"""


@on_linux
@pytest.mark.parametrize("then", ["returns", "hangs", "dies"])
@pytest.mark.parametrize("how", ["child", "session", "daemon"])
def test_what_it_leaves_running_is_killed(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, then: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEAK_TEST", mine := str(tmp_path))
    score(LEAK, how=how, then=then, timeout_s=3)
    assert (tmp_path / "pids").read_text()

    def left() -> list[str]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                alive = (entry / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
                if alive and f"LEAK_TEST={mine}".encode() in (entry / "environ").read_bytes():
                    found.append(entry.name)
            except OSError:
                continue
        return [pid for pid in found if int(pid) != os.getpid()]

    pause = threading.Event()
    for _ in range(100):
        if not left():
            return
        pause.wait(0.02)
    assert left() == []


# -- trust -------------------------------------------------------------------------------------------------------


def test_nothing_runs_without_trust(tmp_path: Path, ledger: Ledger) -> None:
    settings = scorer(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w')\ndef score(task, attempt): return True")
    [code] = codes_in(Holder(scorer=settings), tmp_path)
    with pytest.raises(InputError) as refused:
        require_trust([code], trust=False)
    assert refused.value.exit_code == 2
    message = str(refused.value)
    assert "scorer: mine.py:score" in message
    assert str(tmp_path / "mine.py") in message
    assert code.sha256 in message
    assert "--trust" in message
    # whoever forgot to ask runs nothing, either
    with pytest.raises(InputError, match="not trusted"):
        asyncio.run(once(settings, Place(ledger, tmp_path), ATTEMPT))
    with pytest.raises(InputError, match="not trusted"):
        check_codes(Holder(scorer=settings), tmp_path)
    assert settings.identity(tmp_path).startswith("python:score@")
    assert not (tmp_path / "ran").exists()


def test_what_was_trusted_before_is_trusted_until_it_changes(tmp_path: Path) -> None:
    settings = scorer(tmp_path, "def score(task, attempt): return True")
    codes = codes_in(Holder(scorer=settings), tmp_path)
    trusted = [code.sha256 for code in codes]
    require_trust(codes, trust=False, trusted=trusted)
    (tmp_path / "mine.py").write_text("def score(task, attempt): return False")
    with pytest.raises(InputError, match="have changed since"):
        require_trust(codes_in(Holder(scorer=settings), tmp_path), trust=False, trusted=trusted)


def test_a_file_that_changes_after_it_was_looked_at_is_not_run(tmp_path: Path, ledger: Ledger) -> None:
    settings = scorer(tmp_path, "def score(task, attempt): return True")
    trust(settings, tmp_path)
    made = settings.make(Place(ledger, tmp_path))
    (tmp_path / "mine.py").write_text("def score(task, attempt): return False")
    with pytest.raises(RecipeError, match="has changed since it was looked at"):
        asyncio.run(made.score(TASK, ATTEMPT))


def test_every_function_of_a_recipe_is_found_with_its_key(tmp_path: Path) -> None:
    one = scorer(tmp_path, "")
    found = codes_in(Holder(scorer=one, more=({"a": one}, 3, one)), tmp_path)
    assert [code.key for code in found] == ["scorer", "more.1.a", "more.3"]
    with pytest.raises(MissingFile, match=r"scorer\.path: .*mine\.py cannot be read"):
        codes_in(Holder(scorer=one), tmp_path / "elsewhere")


# -- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "settings", "said"),
    [
        ("import no_such_module", {}, r"cannot be imported: mine\.py:1: ModuleNotFoundError: No module named"),
        ("def score(task", {}, r"cannot be imported: mine\.py:1: SyntaxError"),
        ("import sys\nsys.exit(0)", {}, r"cannot be imported: mine\.py:2: SystemExit"),
        ("import os\nos._exit(3)", {}, "importing it crashes or hangs: .* ended with code 3"),
        ("def scoer(task, attempt): pass", {}, "mine.py has no function 'score': did you mean 'scoer'"),
        ("", {}, "has no function 'score': it has none"),
        ("score = 3", {}, "score of mine.py is a int, not a function"),
        ("def score(answer): pass", {}, r"called as score\(task, attempt\), but it is score\(answer\)"),
        ("def score(): pass", {}, r"but it is score\(\)"),
        (
            "def score(task, attempt, strict=True): pass",
            {"strit": 1},
            r"unknown key 'strit': did you mean 'strict'\? score\(.*\): its settings are strict",
        ),
        ("def score(task, attempt): pass", {"task": 1}, "unknown key 'task': .*it takes no settings"),
        ("def score(task, attempt, level): pass", {}, "needs 'level': give it as a key"),
        ("def score(task, attempt, *, level): pass", {}, "needs 'level'"),
    ],
)
def test_a_function_that_cannot_be_used_is_one_message(
    tmp_path: Path, code: str, settings: dict[str, Any], said: str
) -> None:
    found = scorer(tmp_path, code, **settings)
    trust(found, tmp_path)
    with pytest.raises(RecipeError, match=said) as refused:
        check_codes(Holder(scorer=found), tmp_path)
    assert str(refused.value).startswith("scorer: mine.py:score cannot be used: ")
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"path": "mine.py"}, "write the file and the function, such as mine.py:score"),
        ({"path": "mine.py:a-b"}, "write the file and the function"),
        ({"path": "mine:score"}, "write the file and the function"),
        ({"path": "mine.py:score", "timeout_s": 0}, "greater than 0"),
        ({"path": "mine.py:score", "memory_mb": 10}, "greater than or equal to 512"),
        ({"path": "mine.py:score", "api_key": "sk-" + "a1B2" * 12}, "looks like a secret"),
        ({}, "Field required"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SCORERS.validate_python({"kind": "python", **settings})


# -- the ledger's guarantees -------------------------------------------------------------------------------------


async def draw(folder: Path, ledger: Ledger, settings: Any) -> tuple[list[Outcome], int]:
    """The outcomes of one call of a run, and how many verdicts were new."""
    trust(settings, folder)
    made = settings.make(Place(ledger, folder))
    teacher = ScriptedTeacher(lambda request: f"answer {request.index}")
    policy = Until(per_task=2, max_attempts=2)
    core = Core(teacher, made, policy, ledger, sampling=SamplingParams(), seed=0)
    outcomes: list[Outcome] = []
    await core.run([TASK], outcomes.append)
    await made.close()
    return outcomes, len(teacher.calls)


async def test_an_edited_scorer_scores_again_and_nothing_is_paid_for_twice(tmp_path: Path, ledger: Ledger) -> None:
    count = f"open({str(tmp_path / 'calls')!r}, 'a').write('x')"
    yes = f"def score(task, attempt):\n    {count}\n    return True"
    [outcome], asked = await draw(tmp_path, ledger, scorer(tmp_path, yes))
    assert (len(outcome.kept), asked) == (2, 2)
    assert (tmp_path / "calls").read_text() == "xx"

    [outcome], asked = await draw(tmp_path, ledger, scorer(tmp_path, yes))
    assert (len(outcome.kept), asked) == (2, 0)
    assert (tmp_path / "calls").read_text() == "xx"

    [outcome], asked = await draw(tmp_path, ledger, scorer(tmp_path, yes.replace("True", "False")))
    assert (len(outcome.kept), asked) == (0, 0)
    assert (tmp_path / "calls").read_text() == "xxxx"


def test_the_identity_is_the_files_content_and_the_settings(tmp_path: Path) -> None:
    code = "def score(task, attempt, a=1): return True"
    first = scorer(tmp_path, code).identity(tmp_path)
    assert first == scorer(tmp_path, code, workers=3).identity(tmp_path)
    assert first != scorer(tmp_path, code, a=2).identity(tmp_path)
    assert first != scorer(tmp_path, code, accept=0.5).identity(tmp_path)
    assert first != scorer(tmp_path, code + "\n").identity(tmp_path)
    (tmp_path / "moved").mkdir()
    assert first == scorer(tmp_path / "moved", code).identity(tmp_path / "moved")


def test_settings_of_the_function_are_written_and_read_back(tmp_path: Path) -> None:
    found = scorer(tmp_path, "", level=3, words=["a"])
    written = SCORERS.dump_python(found, mode="json")
    assert (written["level"], written["words"]) == (3, ["a"])
    assert SCORERS.validate_python(written) == found


# -- teachers ----------------------------------------------------------------------------------------------------


def teacher(folder: Path, code: str, **settings: Any) -> Any:
    (folder / "mine.py").write_text(code)
    found = TEACHERS.validate_python({"kind": "python", "path": "mine.py:teacher", **settings})
    trust(found, folder)
    return found


REQUEST = Request("t", 0, user("2 + 2?"), SamplingParams(temperature=0.5), 7)


async def test_an_async_function_teaches(tmp_path: Path) -> None:
    code = """
async def teacher(messages, sampling, end="."):
    return f"{messages[-1]['content']} {sampling.temperature}{end}"
"""
    settings = teacher(tmp_path, code, end="!", concurrency=3)
    made = settings.make(tmp_path)
    usage = Usage()
    completion = await made.sample(REQUEST, usage)
    await made.close()
    assert (completion.text, completion.finish_reason) == ("2 + 2? 0.5!", "stop")
    assert completion.completion_tokens > 0
    assert usage.uncounted
    assert made.concurrency == 3
    assert made.identity.startswith("python:teacher@")
    assert made.identity != teacher(tmp_path, code, end="?").make(tmp_path).identity


async def test_it_may_say_how_the_answer_ended(tmp_path: Path) -> None:
    code = """
from stillroom.common.records import Completion
async def teacher(messages, sampling): return Completion("4", "length", 5, 6)
"""
    completion = await teacher(tmp_path, code).make(tmp_path).sample(REQUEST, Usage())
    assert (completion.finish_reason, completion.completion_tokens) == ("length", 6)


@pytest.mark.parametrize(
    ("code", "said", "retryable"),
    [
        ("async def teacher(messages, sampling): return 4", "returned 4, expected a text", False),
        ("async def teacher(messages, sampling): return [4]", "returned a list", False),
        ("async def teacher(messages, sampling): raise ValueError('no')", "mine.py:1: ValueError: no", False),
        ("async def teacher(messages, sampling): raise ConnectionError('gone')", "ConnectionError: gone", True),
        ("import asyncio\nasync def teacher(messages, sampling): await asyncio.sleep(60)", "no answer within", True),
    ],
)
async def test_a_request_that_failed_is_told(tmp_path: Path, code: str, said: str, retryable: bool) -> None:
    with pytest.raises(RequestFailed, match=said) as failed:
        await teacher(tmp_path, code, timeout_s=0.2).make(tmp_path).sample(REQUEST, Usage())
    assert failed.value.retryable is retryable


def test_a_teacher_has_to_be_async(tmp_path: Path) -> None:
    settings = teacher(tmp_path, "def teacher(messages, sampling): return '4'")
    with pytest.raises(RecipeError, match="write `async def teacher"):
        check_codes(Holder(scorer=settings), tmp_path)
