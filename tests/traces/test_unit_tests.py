"""Code with its tests: what passes, what fails, and what hostile code gets."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from stillroom.common.records import Attempt, State, Task, Verdict, user
from stillroom.errors import InputError
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.scorers.base import Place, ScorerSettings
from stillroom.sampling.workers.child import descendants
from stillroom.traces.scorers.unit_tests import DETAIL, UnitTestsScorer, find_code

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

SETTINGS: TypeAdapter[Any] = TypeAdapter(ScorerSettings)
TESTS = "assert double(2) == 4\nassert double(0) == 0\n"
GOOD = "def double(x):\n    return 2 * x\n"
LIMITS = {"timeout_s": 5, "memory_mb": 512, "processes": 8, "files_mb": 8, "workers": 1}


def settings(**more: Any) -> Any:
    return SETTINGS.validate_python({"kind": "unit_tests", "tests": "reference", **LIMITS, **more})


def make(**more: Any) -> UnitTestsScorer:
    made = settings(**more).make(Place(None, Path()))
    assert isinstance(made, UnitTestsScorer)
    return made


def of_kind(sandbox: str, **more: Any) -> UnitTestsScorer:
    try:
        return make(sandbox=sandbox, **more)
    except InputError as error:
        if sandbox == "none":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module", params=["namespaces", "none"])
def scorer(request: pytest.FixtureRequest) -> Iterator[UnitTestsScorer]:
    made = of_kind(request.param)
    yield made
    asyncio.run(made.close())


@pytest.fixture(scope="module")
def isolated() -> Iterator[UnitTestsScorer]:
    made = of_kind("namespaces")
    yield made
    asyncio.run(made.close())


def score(
    scorer: UnitTestsScorer, text: str, tests: str | None = TESTS, finish: Any = "stop", **metadata: Any
) -> Verdict:
    attempt = Attempt("t", 0, text, None, finish, 1, 1, None, 0.1, "m")
    return asyncio.run(scorer.score(Task("t", user("Double it."), tests, "by hand", metadata), attempt))


def fenced(code: str) -> str:
    return f"Here it is:\n\n```python\n{code}\n```\n"


def alive_in(cookie: str) -> list[int]:
    """Processes with this in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if cookie.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- where the code is -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\nx = 1\n```", ("x = 1\n", True)),
        ("```py\nx = 1\n```\nthen\n```python\nx = 2\n```\nand\n```\noutput\n```", ("x = 2\n", True)),
        ("```\nx = 1\n```", ("x = 1\n", True)),
        ("~~~Python\nx = 1\n~~~", ("x = 1\n", True)),
        ("1. So:\n   ```python\n   x = 1\n   ```", ("x = 1\n", True)),
        ("````python\ns = '''\n```\n'''\n````", ("s = '''\n```\n'''\n", True)),
        ("```python\nx = 1\n", ("x = 1\n", True)),
        ("<think>```python\nx = 1\n```</think>```python\nx = 2\n```", ("x = 2\n", True)),
        ("x = 1\n", ("x = 1\n", False)),
        ("```java\nint x;\n```", None),
        ("<think>x = 1", None),
    ],
)
def test_the_last_block_of_python_is_the_code(text: str, code: tuple[str, bool] | None) -> None:
    assert find_code(text) == code


# -- verdicts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tests", "state", "reason"),
    [
        (fenced(GOOD), TESTS, State.ACCEPTED, "passed"),
        (GOOD, TESTS, State.ACCEPTED, "passed"),
        (fenced("def double(x):\n    return x + x + (x == 2)"), TESTS, State.REJECTED, "tests_failed"),
        (fenced("def double(x"), TESTS, State.REJECTED, "tests_failed"),
        (fenced("def triple(x): return 3 * x"), TESTS, State.REJECTED, "tests_failed"),
        ("I would add it to itself.", TESTS, State.UNSCORED, "no_code"),
        ("42", TESTS, State.UNSCORED, "no_code"),
        ("```sql\nselect 1\n```", TESTS, State.UNSCORED, "no_code"),
        (fenced(GOOD), "assert double(", State.UNSCORED, "bad_tests"),
        (fenced(GOOD), None, State.UNSCORED, "no_tests"),
        (fenced(GOOD), " ", State.UNSCORED, "no_tests"),
        ("", TESTS, State.UNSCORED, "no_answer"),
        (fenced("x = 1\n" * 30_000), TESTS, State.UNSCORED, "over_limit"),
        # what the tests define is run
        (fenced(GOOD), "def test_it(): assert double(1) == 2", State.ACCEPTED, "passed"),
        (fenced(GOOD), "def test_it(): assert double(1) == 3", State.REJECTED, "tests_failed"),
        # a program's own main part is not wanted
        (fenced(GOOD + "if __name__ == '__main__':\n    double(int(input()))"), TESTS, State.ACCEPTED, "passed"),
    ],
)
def test_verdicts(scorer: UnitTestsScorer, text: str, tests: str | None, state: State, reason: str) -> None:
    verdict = score(scorer, text, tests)
    assert (verdict.state, verdict.reason) == (state, reason), verdict.detail


@pytest.mark.parametrize(("expected", "reason"), [(4, "passed"), (5, "tests_failed")])
def test_test_cases_are_run(scorer: UnitTestsScorer, expected: int, reason: str) -> None:
    tests = f"""
import unittest
class Doubles(unittest.TestCase):
    def test_two(self): self.assertEqual(double(2), {expected})
unittest.main()
"""
    assert score(scorer, fenced(GOOD), tests).reason == reason


def test_what_did_not_end_is_not_run(scorer: UnitTestsScorer) -> None:
    assert score(scorer, fenced(GOOD), finish="length").reason == "truncated"
    assert score(scorer, fenced(GOOD), finish="content_filter").reason == "no_answer"


def test_the_failure_is_told_with_its_line(scorer: UnitTestsScorer) -> None:
    detail = score(scorer, fenced("def double(x):\n    raise KeyError('seven')")).detail
    assert 'File "attempt.py", line 2' in detail
    assert "KeyError: 'seven'" in detail


async def test_tests_may_stand_in_the_metadata() -> None:
    made = make(sandbox="none", tests="test_code")
    attempt = Attempt("t", 0, fenced(GOOD), None, "stop", 1, 1, None, 0.1, "m")
    there = await made.score(Task("t", user("?"), None, "by hand", {"test_code": TESTS}), attempt)
    missing = await made.score(Task("t", user("?"), TESTS, "by hand"), attempt)
    await made.close()
    assert (there.reason, missing.reason) == ("passed", "no_tests")
    assert "set scorer.tests to reference" in missing.detail


# -- hostile code: in both kinds of sandbox ----------------------------------------------------------------------

ENDS_EARLY = [
    "import os\nos._exit(0)",
    "import sys\nsys.exit(0)",
    "raise SystemExit",
    "exit()",
    "def double(x):\n    import os\n    os._exit(0)",
    "def double(x):\n    raise SystemExit(0)",
    "import atexit, os\natexit.register(os._exit, 0)",
    "import sys, os\nsys.excepthook = lambda *a: os._exit(0)",
    "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
    "import os, builtins\nos._exit = lambda code: None\nbuiltins.exec = print\nbuiltins.compile = print",
    "import os, traceback\ntraceback.print_exc = lambda: os._exit(0)",
    "print('passed')\nimport os\nfor fd in range(1, 20):\n    try: os.write(fd, b'passed')\n    except OSError: pass\nos._exit(0)",
    "import os\nfor fd in range(1, 20):\n    try: os.write(fd, b'0' * 32)\n    except OSError: pass\nos._exit(0)",
    "import os\nos.execv('/bin/true', ['true'])",
    "import os\nif os.fork(): os._exit(0)",
    "import builtins\nbuiltins.isinstance = lambda *a: False\ndouble = None",
    "import __main__\n__main__._run_defined = print\n__main__.exec = print",
]


@pytest.mark.parametrize("code", ENDS_EARLY)
def test_a_process_that_ends_well_has_passed_nothing(scorer: UnitTestsScorer, code: str) -> None:
    verdict = score(scorer, fenced(code))
    assert (verdict.state, verdict.reason) == (State.REJECTED, "tests_failed")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("x = bytearray(10**10)", "over_limit"),
        ("open('big', 'wb').write(b'x' * (64 << 20))", "over_limit"),
        ("x = [0]\nwhile True: x += x", "over_limit"),
    ],
)
def test_limits_of_memory_and_files(scorer: UnitTestsScorer, code: str, reason: str) -> None:
    assert score(scorer, fenced(code)).reason == reason


@pytest.mark.parametrize("sandbox", ["namespaces", "none"])
@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time\ntime.sleep(60)",
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
        "input_ = 9 ** 9 ** 9",
    ],
)
def test_what_does_not_end_is_ended(sandbox: str, code: str) -> None:
    made = of_kind(sandbox, timeout_s=0.7)
    started = time.monotonic()
    verdict = score(made, fenced(code))
    asyncio.run(made.close())
    assert (verdict.state, verdict.reason) == (State.UNSCORED, "timeout")
    assert time.monotonic() - started < 20


BOMB = """
import os, time
for _ in range(60):
    try:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
    except OSError:
        time.sleep(0.01)
time.sleep(30)
"""
DAEMON = """
import subprocess, sys, os
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)  # COOKIE"], start_new_session=True, env={})
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)  # COOKIE"], {})
    os._exit(0)
"""


@pytest.mark.parametrize("sandbox", ["namespaces", "none"])
def test_a_fork_bomb_is_ended(sandbox: str) -> None:
    """Bounded, so that a broken limit costs 60 sleeping processes and no more."""
    made = of_kind(sandbox, timeout_s=2)
    before = set(descendants(os.getpid()))
    verdict = score(made, fenced(BOMB))
    assert verdict.state is State.UNSCORED
    assert verdict.reason in {"over_limit", "timeout"}
    assert set(descendants(os.getpid())) - before == set()
    assert score(made, fenced(GOOD)).reason == "passed"
    asyncio.run(made.close())


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_what_it_has_started_is_killed_with_it(scorer: UnitTestsScorer) -> None:
    cookie = f"left-by-{os.getpid()}-{time.monotonic_ns()}"
    assert score(scorer, fenced(GOOD + DAEMON.replace("COOKIE", cookie))).reason == "passed"
    assert alive_in(cookie) == []


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize("sandbox", ["namespaces", "none"])
def test_code_does_not_outlive_a_worker_that_is_killed(sandbox: str) -> None:
    made = of_kind(sandbox)
    cookie = f"left-by-{os.getpid()}-{time.monotonic_ns()}"
    command = f"import time; time.sleep(60)  # {cookie}"
    code = f"import os, sys\nos.execv(sys.executable, [sys.executable, '-c', {command!r}])"
    thread = threading.Thread(target=score, args=(made, fenced(code)))
    thread.start()
    wait_for(lambda: bool(alive_in(cookie)))
    asyncio.run(made.close())  # kills the worker with SIGKILL
    thread.join()
    wait_for(lambda: not alive_in(cookie))


KILL = "import os\nfor pid in {pids}:\n    try: os.kill(pid, 9)\n    except OSError: pass"


def test_killing_what_watches_gains_nothing(scorer: UnitTestsScorer) -> None:
    verdict = score(scorer, fenced(KILL.format(pids="[os.getppid()]")))
    assert verdict.state is not State.ACCEPTED
    assert verdict.reason in {"tests_failed", "sandbox_error"}
    assert score(scorer, fenced(GOOD)).reason == "passed"


@pytest.mark.parametrize("pids", ["[1]", "[-1]", "[0]", "range(1, 100)"])
def test_inside_nothing_else_can_be_killed(isolated: UnitTestsScorer, pids: str) -> None:
    # Checked inside, since elsewhere this would kill whatever the user runs.
    code = f"import os\nassert os.getpid() < 10 and os.getuid() == 65534\n{KILL.format(pids=pids)}"
    assert score(isolated, fenced(code)).state is not State.ACCEPTED
    assert score(isolated, fenced(GOOD)).reason == "passed"


def test_what_the_tests_are_made_of_cannot_be_replaced(scorer: UnitTestsScorer) -> None:
    code = """
import builtins, unittest
unittest.TestCase.assertEqual = lambda *a: None
unittest.TextTestRunner.run = lambda *a: unittest.TestResult()
builtins.len = lambda x: 3
def double(x): return 0
"""
    tests = """
import unittest
class Doubles(unittest.TestCase):
    def test_two(self): self.assertEqual(double(2), 4)
"""
    assert score(scorer, fenced(code), tests).reason == "tests_failed"
    assert score(scorer, fenced(code), "assert len([]) == 3").reason == "tests_failed"


def test_much_output_is_cut(scorer: UnitTestsScorer) -> None:
    verdict = score(scorer, fenced("for _ in range(1000): print('x' * 100_000)\nraise KeyError('the end')"))
    assert verdict.reason == "tests_failed"
    assert len(verdict.detail) <= DETAIL
    assert "the end" in verdict.detail
    assert score(scorer, fenced(GOOD + "print('x' * 10**8)")).reason == "passed"


def test_no_key_is_in_its_environment(scorer: UnitTestsScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    made = of_kind("none")
    verdict = score(made, fenced("import os\nraise KeyError(dict(os.environ))"))
    asyncio.run(made.close())
    assert "sk-secret" not in verdict.detail
    assert "'PYTHONHASHSEED': '0'" in verdict.detail
    names = "{'PATH', 'LANG', 'PYTHONHASHSEED', 'HOME', 'TMPDIR', 'OMP_NUM_THREADS', 'LC_CTYPE'}"
    tests = f"import os\nassert not set(os.environ) - {names}, os.environ"
    assert score(scorer, fenced("x = 1"), tests).reason == "passed"


def test_it_works_in_a_folder_that_is_gone_afterwards(scorer: UnitTestsScorer, tmp_path: Path) -> None:
    code = "import os, pathlib\nos.mkdir('a')\npathlib.Path('a/b').write_text('c')\nos.chmod('a', 0)"
    tests = "assert os.path.samefile(os.getcwd(), os.environ['HOME'])\nraise KeyError(os.getcwd())"
    folder = score(scorer, fenced(code), tests).detail.rpartition("KeyError: ")[2].strip("'\n")
    assert folder
    assert not Path(folder).exists()


def test_nothing_is_left_of_a_scorer_whose_worker_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = make(sandbox="none")
    code = "import os, pathlib, time\nos.mkdir('a')\nos.chmod('a', 0)\ntime.sleep(60)"
    thread = threading.Thread(target=score, args=(made, fenced(code)))
    thread.start()
    wait_for(lambda: any(tmp_path.glob("*/*/a")))
    asyncio.run(made.close())
    thread.join()
    assert list(tmp_path.iterdir()) == []


# -- hostile code: what namespaces take away ---------------------------------------------------------------------


def test_there_is_no_network(isolated: UnitTestsScorer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)"
        verdict = score(isolated, fenced(code), "pass")
    assert verdict.reason == "tests_failed"
    assert "unreachable" in verdict.detail
    tests = "import socket\nassert [name for _, name in socket.if_nameindex()] in (['lo'], []), socket.if_nameindex()"
    assert score(isolated, fenced("x = 1"), tests).reason == "passed"


def test_the_users_files_are_not_there(isolated: UnitTestsScorer, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("sk-secret")
    for path in (secret, Path(__file__), Path("/etc/passwd"), Path.home() / ".netrc"):
        verdict = score(isolated, fenced(f"print(open({str(path)!r}).read())"), "pass")
        assert verdict.reason == "tests_failed"
        assert "FileNotFoundError" in verdict.detail


@pytest.mark.parametrize("path", ["/usr/lib/x", "/bin/x", "/x/../usr/x", os.path.join(sys.prefix, "x"), os.__file__])
def test_the_system_is_read_only(isolated: UnitTestsScorer, path: str) -> None:
    before = Path(path).read_bytes() if Path(path).exists() else None
    assert score(isolated, fenced(f"open({path!r}, 'a').write('x')"), "pass").reason == "tests_failed"
    assert (Path(path).read_bytes() if Path(path).exists() else None) == before


@pytest.mark.parametrize(
    "code",
    [
        "libc.mount(None, b'/usr', None, 32 | 4096, None)",  # writable again
        "libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None)",
        "libc.umount2(b'/usr', 2)",
        "libc.unshare(0x10000000)",  # a user namespace to be root in
        "libc.chroot(b'.')",
        "libc.sethostname(b'x', 1)",
        "libc.setuid(0)",
    ],
)
def test_it_has_no_rights_in_the_namespaces_either(isolated: UnitTestsScorer, code: str) -> None:
    tests = f"import ctypes\nlibc = ctypes.CDLL(None)\nassert {code} != 0"
    verdict = score(isolated, fenced("x = 1"), tests)
    assert verdict.reason == "passed", verdict.detail


def test_other_processes_are_not_seen(isolated: UnitTestsScorer) -> None:
    tests = """
import os
assert os.getpid() < 10
assert len([name for name in os.listdir("/proc") if name.isdigit()]) <= 2
for pid in (1, os.getppid()):
    for name in ("environ", "mem", "fd/0"):
        try:
            open(f"/proc/{pid}/{name}", "rb").read(1)
        except OSError:
            continue
        raise AssertionError((pid, name))
"""
    assert score(isolated, fenced("x = 1"), tests).reason == "passed"


def test_threads_and_processes_within_the_limit_work(scorer: UnitTestsScorer) -> None:
    tests = """
import subprocess, sys, threading
threads = [threading.Thread(target=print, args=(n,)) for n in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True).stdout == "42\\n"
"""
    verdict = score(scorer, fenced("x = 1"), tests)
    assert verdict.reason == "passed", verdict.detail


# -- settings ----------------------------------------------------------------------------------------------------


def test_a_system_without_namespaces_is_refused_before_anything_is_paid_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The worker finds a system call that is refused, as in many containers."""
    (tmp_path / "sitecustomize.py").write_text(
        "import ctypes\n"
        "class Refusing(ctypes.CDLL):\n"
        "    def unshare(self, flags):\n"
        "        ctypes.set_errno(1)\n"
        "        return -1\n"
        "ctypes.CDLL = Refusing\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"without a network .*unshare: Operation not permitted.*sandbox to none"):
        make()
    if sys.platform == "linux":
        monkeypatch.setattr(sys, "platform", "darwin")
        with pytest.raises(InputError, match=r"scorer\.sandbox is namespaces, which"):
            make()


def test_the_identity_is_what_decides(tmp_path: Path) -> None:
    first = settings().identity(tmp_path)
    assert first.startswith("unit_tests-1:")
    assert f"python-{sys.version_info.major}.{sys.version_info.minor}" in first
    assert first == settings(workers=3).identity(tmp_path)
    changed: list[dict[str, Any]] = [
        {"timeout_s": 6},
        {"memory_mb": 600},
        {"processes": 9},
        {"sandbox": "none"},
        {"tests": "t"},
    ]
    assert len({first, *(settings(**more).identity(tmp_path) for more in changed)}) == 1 + len(changed)


async def test_the_scorer_has_the_identity_of_its_settings(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        made = settings(sandbox="none").make(Place(ledger, tmp_path))
        assert made.identity == settings(sandbox="none").identity(tmp_path)
        await made.close()


@pytest.mark.parametrize("more", [{"sandbox": "docker"}, {"tests": ""}, {"timeout_s": 0}, {"memory_mb": 1}])
def test_wrong_settings_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**more)


def test_a_reference_is_needed_where_the_tests_are_there() -> None:
    assert settings().reads_reference
    assert not settings(tests="test_code").reads_reference
