"""Math-Verify as its README uses it, and both sides under guard: killed when a pair takes too long or much memory.

Math-Verify keeps its own default limits; the guard's are wider and the same for both sides. Each guarded process has
a process group of its own and an address-space limit, so this is for POSIX alone.

    with Guard(THEIRS, folder) as guard:
        guard.ask(Row("1/2", r"\\boxed{0.5}", True)).verdict
"""

from __future__ import annotations

import logging
import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import NamedTuple, Self

from bench._answers_pairs import Row
from stillroom.common.records import State, Verdict
from stillroom.errors import RunError
from stillroom.traces.answers import AnswerChecker

OURS, THEIRS = "ours", "Math-Verify"
TIME_LIMIT_S, MEMORY_LIMIT_MB, START_LIMIT_S = 10.0, 2048, 120.0
"""What a guarded pair may take, and what the start of its process may."""

WARM_UP = (("7", r"So $x = \boxed{7}$."), (r"\frac{1}{2}", r"So it is $\boxed{0.5}$."), ("$x+1$", r"\boxed{1+x}"))
"""Pairs that are asked first and not counted."""


def wrapped(text: str) -> str:
    r"""Bare LaTeX in $...$, which Math-Verify needs; a text with delimiters, a box or lines of its own stays.

    >>> print(wrapped(r"\frac12"), wrapped("$5$"), wrapped(r"\boxed{5}"), wrapped(r"\$5"))
    $\frac12$ $5$ \boxed{5} $\$5$
    """
    return text if re.search(r"(?<!\\)\$|\n|\\[(\[]|\\boxed|\\begin\{(align|equation)", text) else f"${text}$"


def math_verify() -> Callable[[Row], bool]:
    """Math-Verify as its README uses it; rows of its own suite with the options of their test."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    logging.disable(logging.CRITICAL)  # it logs each time-out with the whole text
    configs = {"latex": LatexExtractionConfig(boxed_match_priority=0), "expr": ExprExtractionConfig()}
    names = {"precision": "float_rounding", "strict": "strict", "allow_set_relation_comp": "allow_set_relation_comp"}

    def accepts(row: Row) -> bool:
        kinds = row.options.get("match_types")
        given = {"extraction_config": [configs[kind] for kind in kinds]} if kinds else {}
        options = {names[name]: value for name, value in row.options.items() if name in names}
        return bool(verify(parse(row.gold, **given), parse(row.answer, **given), **options))

    return accepts


def warmed_math_verify() -> Callable[[Row], bool]:
    """As `math_verify`, after its first pairs."""
    accepts = math_verify()
    for gold, answer in WARM_UP:
        accepts(Row(wrapped(gold), answer, None))
    return accepts


def as_verdict(accepted: bool) -> Verdict:
    """Math-Verify's yes or no. It has no third value."""
    return Verdict(State.ACCEPTED, "equal") if accepted else Verdict(State.REJECTED, "different")


class Guarded(NamedTuple):
    """A guarded verdict. `seconds`: of the wall clock. `over`: a limit ended it, or its process died."""

    verdict: Verdict
    seconds: float
    over: bool


class Guard:
    """A side in a process that is killed when a pair is over its limits, and started again for the next one.

    `side`: OURS or THEIRS. `folder`: its working directory. `fresh`: a new process for every pair.
    Raises RunError where the process does not start.
    """

    def __init__(self, side: str, folder: str, *, fresh: bool = False) -> None:
        self._side, self._folder, self._fresh = side, folder, fresh
        self._context = get_context("spawn")
        self._start()

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=serve, args=(theirs, self._side, self._folder))
        self._process.start()
        theirs.close()
        if not self._ready():
            self.close()
            raise RunError(f"{self._side} did not start (limit {START_LIMIT_S:g} s): see its error above")

    def _ready(self) -> bool:
        try:
            return self._pipe.poll(START_LIMIT_S) and self._pipe.recv() == "ready"
        except EOFError:  # it died, and has said why on the error stream
            return False

    def ask(self, row: Row) -> Guarded:
        """The verdict on one pair; unscored where its limits ended it."""
        begin = time.perf_counter()
        try:
            self._pipe.send(row)
            if self._pipe.poll(TIME_LIMIT_S):
                verdict, seconds = self._pipe.recv()
                return Guarded(verdict, seconds, over=False)
            reason = "timeout"
        except (EOFError, OSError):  # the process ended
            reason = "died"
        finally:
            seconds = time.perf_counter() - begin
            if self._fresh or seconds >= TIME_LIMIT_S or not self._process.is_alive():
                self.close()
                self._start()
        return Guarded(Verdict(State.UNSCORED, reason), seconds, over=True)

    def close(self) -> None:
        """Kills the process and what it has started."""
        if self._process.pid:
            with suppress(ProcessLookupError):  # it is gone, and so is its group
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()  # where it died or hung before it had a group
        self._process.join()
        self._pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(pipe: Connection, side: str, folder: str) -> None:
    """Answers rows over a pipe until its other end closes; a process group of its own, within the memory limit."""
    import resource

    os.setsid()
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_MB << 20, MEMORY_LIMIT_MB << 20))
    check = _ours() if side == OURS else _theirs()
    pipe.send("ready")
    with suppress(EOFError):  # the other end closed: done
        while True:
            row = pipe.recv()
            begin = time.perf_counter()
            verdict = check(row)
            pipe.send((verdict, time.perf_counter() - begin))


def _ours() -> Callable[[Row], Verdict]:
    checker = AnswerChecker(timeout_s=5, memory_mb=MEMORY_LIMIT_MB)
    checker.warm()
    return lambda row: checker.check(row.gold, row.answer)


def _theirs() -> Callable[[Row], Verdict]:
    accepts = warmed_math_verify()
    return lambda row: as_verdict(accepts(row))
