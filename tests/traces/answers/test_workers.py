"""Workers are killed, die, hang and are left alone; the run goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from stillroom.common.records import State
from stillroom.errors import CheckerError, InputError
from stillroom.sampling.workers.pool import environment
from stillroom.traces.answers import AnswerChecker, Policies, Reason, check
from stillroom.traces.answers import checker as checker_module
from stillroom.traces.answers.checker import MODULE

HANG = ("gamma(x+1)", r"\boxed{x*gamma(x)}")
"""The same, and short; but a worker looks at it for hours."""
PAIR = (r"\tan(x/2)", r"\frac{1-\cos x}{\sin x}")
"""A pair that needs a worker."""
on_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


def running(pid: int) -> bool:
    """Whether a process still runs: a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(pids: list[int], seconds: float) -> list[int]:
    """The processes that still run after so many seconds at most."""
    pause = threading.Event()
    for _ in range(int(seconds * 50)):
        if not any(map(running, pids)):
            return []
        pause.wait(0.02)
    return [pid for pid in pids if running(pid)]


@pytest.fixture
def quick() -> Iterator[AnswerChecker]:
    """A checker with one worker and a limit below a second."""
    with AnswerChecker(workers=1, timeout_s=0.5) as made:
        made.warm()
        yield made


def test_a_hang_costs_one_verdict(quick: AnswerChecker) -> None:
    hung = quick.check(*HANG)
    assert (hung.state, hung.reason) == (State.UNSCORED, Reason.TIMEOUT)
    assert 0.5 <= hung.seconds < 5
    assert quick.check("5", "5").state == State.ACCEPTED


def test_a_timeout_is_not_remembered_and_a_verdict_is() -> None:
    with AnswerChecker(workers=1, timeout_s=60) as checker:
        assert checker.check(*PAIR).reason == Reason.EQUAL
        checker.timeout_s = 0.0
        assert checker.check(*PAIR).reason == Reason.EQUAL
        assert checker.check(*HANG).reason == Reason.TIMEOUT
        assert [ruling.reason for ruling in checker._memo._results.values()] == [Reason.EQUAL, None]


def test_the_policy_by_which_an_answer_was_found_is_named_after_a_worker_too() -> None:
    text = f"So we have it: the value of it all is then ${PAIR[1]}$ and that is all there is."
    with AnswerChecker(workers=1, timeout_s=60, policies=Policies(unmarked="last")) as checker:
        first, again = checker.check_many([(PAIR[0], text)] * 2)
        verdict = checker.check(PAIR[0], text)
    assert {each.reason for each in (first, again, verdict)} == {Reason.EQUAL}
    assert all("policy unmarked=last" in each.detail for each in (first, again, verdict))


def test_the_memo_forgets_the_oldest() -> None:
    with AnswerChecker(workers=1, timeout_s=60, memo=2) as checker:
        checker.check_many([("x+1", "1+x"), ("x+2", "2+x"), ("x+3", "3+x")])
        assert len(checker._memo._results) == 2


def test_time_limits_hold_in_threads(quick: AnswerChecker) -> None:
    with ThreadPoolExecutor(2) as threads:
        verdicts = list(threads.map(lambda _: quick.check(*HANG), range(2)))
    assert [verdict.reason for verdict in verdicts] == [Reason.TIMEOUT] * 2


async def test_time_limits_hold_under_asyncio_and_the_loop_goes_on(quick: AnswerChecker) -> None:
    hung = asyncio.create_task(quick.acheck(*HANG))
    beats = 0
    while not hung.done():
        await asyncio.sleep(0)
        beats += 1
    assert (await hung).reason == Reason.TIMEOUT
    assert beats > 10
    assert (await quick.acheck("1/2", "x" * 30_000 + "\n#### 0.5")).reason == Reason.EQUAL


def test_a_worker_killed_from_outside_costs_one_verdict() -> None:
    with AnswerChecker(workers=1, timeout_s=60) as checker, ThreadPoolExecutor(1) as threads:
        checker.warm()
        hung = threads.submit(checker.check, *HANG)
        while not hung.done():  # again and again: the first may come before the worker has begun
            for pid in checker.pids():
                os.kill(pid, signal.SIGKILL)
            wait([hung], timeout=0.2)
        assert hung.result().reason == Reason.TIMEOUT
        assert "killed" in hung.result().detail
        assert checker.check(*PAIR).reason == Reason.EQUAL


def test_a_worker_that_crashes_costs_one_verdict() -> None:
    with AnswerChecker(workers=1, timeout_s=60) as checker, ThreadPoolExecutor(1) as threads:
        checker.warm()
        hung = threads.submit(checker.check, *HANG)
        while not hung.done():
            for pid in checker.pids():
                os.kill(pid, signal.SIGSEGV)
            wait([hung], timeout=0.2)
        assert hung.result().reason == Reason.OVER_LIMIT


def test_workers_leave_ctrl_c_to_their_owner() -> None:
    with AnswerChecker(workers=1, timeout_s=60) as checker:
        checker.warm()
        before = checker.pids()
        os.kill(before[0], signal.SIGINT)
        assert checker.check(*PAIR).reason == Reason.EQUAL
        assert checker.pids() == before


@on_linux
def test_nothing_is_left_after_close() -> None:
    checker = AnswerChecker(workers=2)
    checker.warm()
    pids = checker.pids()
    assert len(pids) == 2
    checker.close()
    checker.close()
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    with pytest.raises(CheckerError, match="closed"):
        checker.check(*PAIR)


def test_a_worker_is_killed_by_many_threads_at_once(quick: AnswerChecker) -> None:
    """As when a pool closes while the thread that asked gives its worker back."""
    worker = quick._pool._take()
    together = threading.Barrier(4)
    closing: list[int] = []
    errors = worker._errors

    class Once:
        """A file that is closed slowly, and that cannot be closed twice at the same time."""

        def close(self) -> None:
            assert not closing, "two threads close one file"
            closing.append(1)
            threading.Event().wait(0.05)
            errors.close()
            closing.pop()

    worker._errors = Once()  # type: ignore[assignment]

    def kill(_: int) -> None:
        together.wait()
        worker.kill()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(kill, range(4)))
    assert errors.closed
    assert not running(worker.pid)
    quick._pool._give_back(worker, sound=False)


def test_exact_pairs_start_no_worker() -> None:
    with AnswerChecker() as checker:
        assert checker.check("18", "#### 18.0").state == State.ACCEPTED
        assert checker.pids() == []


def test_pairs_come_back_in_order() -> None:
    pairs = [(f"x+{i}", f"{i % 7}+x") for i in range(40)] + [(str(i), str(i % 7)) for i in range(40)]
    with AnswerChecker(workers=2, timeout_s=60) as checker:
        states = [verdict.state for verdict in checker.check_many(pairs)]
    wanted = [State.ACCEPTED if i == i % 7 else State.REJECTED for i in range(40)]
    assert states == wanted * 2


def script(text: str) -> subprocess.Popen[str]:
    """A Python script that uses the checker as a user would: with no guard for the main module."""
    return subprocess.Popen(
        [sys.executable, "-c", text],
        stdout=subprocess.PIPE,
        text=True,
        env={**environment(), "PYTHONUNBUFFERED": "1"},
    )


@on_linux
@pytest.mark.parametrize("busy", [False, True])
def test_orphans_die_with_their_owner(busy: bool) -> None:
    owner = script(f"""
import threading
from stillroom.traces.answers import AnswerChecker
checker = AnswerChecker(workers=1, timeout_s=600)
checker.warm()
if {busy}:
    threading.Thread(target=checker.check, args={HANG!r}, daemon=True).start()
    while not checker._pool._busy: pass
print(*checker.pids())
threading.Event().wait()
""")
    assert owner.stdout is not None
    with owner.stdout:
        pids = [int(pid) for pid in owner.stdout.readline().split()]
    assert len(pids) == 1
    owner.kill()
    owner.wait()
    assert wait_until_gone(pids, seconds=20) == []


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarms here")
def test_the_kernel_ends_a_worker_whose_owner_has_forgotten_it() -> None:
    worker = subprocess.Popen(
        [sys.executable, "-m", MODULE, "2048"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    with worker.stdin, worker.stdout:
        worker.stdout.readline()
        worker.stdin.write(
            b'{"gold": "gamma(x+1)", "answer": "x*gamma(x)", "policies": {}, "prove": false, "answer_type": "", "limit_s": 0.1}\n'
        )
        worker.stdin.flush()
        assert worker.wait(timeout=60) == -signal.SIGALRM


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_its_own_workers() -> None:
    owner = script(f"""
import os, warnings
warnings.simplefilter("ignore")
from stillroom.traces.answers import AnswerChecker
checker = AnswerChecker(workers=1, timeout_s=60)
checker.warm()
mine = checker.pids()
child = os.fork()
if child == 0:
    same = checker.check(*{PAIR!r}).reason == "equal" and checker.pids() != mine
    checker.close()
    os._exit(0 if same else 1)
status = os.waitpid(child, 0)[1]
print(status, checker.check("x+1", "1+x").reason, checker.pids() == mine)
""")
    out, _ = owner.communicate(timeout=200)
    assert out.split() == ["0", "equal", "True"]


@pytest.mark.skipif(sys.platform != "linux", reason="other platforms do not limit the address space")
def test_memory_is_limited() -> None:
    code = "from stillroom.sampling.workers.child import limit_resources; limit_resources(512); bytearray(1 << 30)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False
    )
    assert "MemoryError" in done.stderr


def test_what_a_worker_prints_is_not_taken_for_a_reply() -> None:
    code = (
        "import sys; from stillroom.sampling.workers import child; stream = child.private_output();"
        "print('{}', flush=True); child.write(stream, {'said': '\\ud800\\n\\0'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), check=True)
    assert done.stdout == b'{"said": "\\ud800\\n\\u0000"}\n'


def test_workers_that_cannot_start_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checker_module, "MODULE", "stillroom.no_such_module")
    with AnswerChecker() as checker, pytest.raises(CheckerError, match="no_such_module"):
        checker.check(*PAIR)
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with AnswerChecker() as checker, pytest.raises(CheckerError, match="/no/such/python"):
        checker.warm()


@pytest.mark.parametrize(
    "setting", [{"workers": 0}, {"timeout_s": 0}, {"timeout_s": float("nan")}, {"memory_mb": 10}]
)
def test_impossible_settings(setting: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(setting))):
        AnswerChecker(**setting)


def test_the_identity_names_versions_and_limits() -> None:
    with AnswerChecker(timeout_s=1) as one, AnswerChecker(timeout_s=2) as other:
        assert all(name in one.identity for name in ("rules=", "mpmath=", "sympy="))
        assert one.identity != other.identity


def test_no_key_reaches_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert "OPENAI_API_KEY" not in set(environment())


def test_the_package_is_light() -> None:
    code = "import sys, stillroom.traces.answers; print({'sympy', 'math_verify', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.strip() == "set()"


def test_the_shared_checker() -> None:
    assert check("#### 18", "She makes 9 * 2 = 18 dollars.\nA: $18.00").state == State.ACCEPTED
