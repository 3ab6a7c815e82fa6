"""The answer checker: is this answer the gold answer?

It reads both texts and compares them; where formulas agree wherever they were tried, a killable worker process
confirms it with sympy. It works in threads, under asyncio and in notebooks; no text can hang it, fill the memory or
run code. It refuses to guess: what it cannot read whole is unscored, with the reason.

    with AnswerChecker() as checker:
        checker.check("1/2", r"Hence $x = \\boxed{0.5}$.").state          # accepted
        checker.check("120", "#### 5!", prompt="What is 5!?").state       # rejected: it stands in the prompt
        checker.check_many([("2x", "x * 2"), ("C", "The answer is (C).")])
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import NamedTuple, Self

from stillroom.common.records import Verdict
from stillroom.errors import InputError, StillroomError
from stillroom.sampling.workers.pool import Program, Threads, WorkerPool
from stillroom.traces.answers.extract import unmarked
from stillroom.traces.answers.grade import Located, Ruling, lacks_unit, located, not_restated, rule
from stillroom.traces.answers.identity import identity_of
from stillroom.traces.answers.lexer import unreadable
from stillroom.traces.answers.question import of_question, says_in_its_words, value_of_what_is_asked
from stillroom.traces.answers.records import Policies, Reason, verdict
from stillroom.traces.answers.statements import Stated, concluding, plain, stated, two_between
from stillroom.traces.answers.types import checked
from stillroom.traces.answers.unit_asked import asks_for_unit
from stillroom.traces.answers.wording import reworded

MODULE = "stillroom.traces.answers.worker"
"""What the workers run."""
DETAIL = 300
"""Characters of an answer that a verdict shows."""
SHORT_OPTION = 200
"""Characters up to which an option of the prompt is compared by what it means."""
LONG = 20_000
"""Characters from which on a text is searched in a thread, to keep the event loop free."""
REMEMBERED = 1_000
"""Characters of two answers up to which their verdict is remembered."""
_NOT_UNDERSTOOD = (Reason.NO_ANSWER, Reason.UNPARSED_ANSWER, Reason.NEEDS_POLICY, Reason.OTHER_TYPE)
"""Reasons for which a look at what the sentence states is worth it."""
_SIDE_BY_SIDE = re.compile(r"\}\s{0,9}\\boxed\s*\{")
"""Boxes with nothing between them: one answer of several parts, or several answers."""
_LIMITS = (Reason.TIMEOUT, Reason.OVER_LIMIT)
UNPROVEN = "the same wherever tried; the proof ran into its limit"
Pair = tuple[str, str] | tuple[str, str, str] | tuple[str, str, str, str]
"""A gold and an answer, with the prompt of the two and the type of the answer if they are known."""


class Judged(NamedTuple):
    """A pair, as its answers were found, with what is known about it so far. `prompt`: what was asked, or "";
    `answer_type`: what the answer must be, or ""."""

    found: Located
    prompt: str
    answer_type: str
    ruling: Ruling
    seconds: float

    def verdict(self, policies: Policies) -> Verdict:
        """As the sampling core takes it: what was found equal is held against the prompt, for its unit too."""
        ruling = self.found.ruled(self.ruling)
        ruling = not_restated(ruling, self.found.gold, self.found.answer, self.prompt, policies)
        if ruling.reason is Reason.EQUAL and policies.units == "optional" and self._lacks_unit():
            ruling = ruling._replace(reason=Reason.NEEDS_POLICY, why="the prompt asks for the unit")
        assert ruling.reason is not None
        return verdict(ruling.reason, ruling.detail[:DETAIL], self.seconds)

    def _lacks_unit(self) -> bool:
        """Whether the unit is missing for which the prompt asks."""
        asked = bool(self.prompt) and lacks_unit(self.found.gold, self.found.answer)
        return asked and asks_for_unit(self.prompt)


class AnswerChecker:
    """Checks answers.

    `workers`: processes at most, default one per core up to four; they start when the first pair needs one.
    `timeout_s`: limit for one pair, in seconds (below one second is fine); a worker's start does not count.
    `memory_mb`: address space of a worker, where the platform can limit it. `memo`: verdicts remembered.
    `policies`: what is decided by convention.
    Raises InputError for impossible settings, CheckerError when workers cannot be started.
    """

    def __init__(
        self,
        workers: int | None = None,
        timeout_s: float = 5.0,
        memory_mb: int = 2048,
        memo: int = 65_536,
        policies: Policies | None = None,
    ) -> None:
        workers = min(4, os.cpu_count() or 1) if workers is None else workers
        given = {
            "workers": (workers, 1),
            "timeout_s": (timeout_s, 0.001),
            "memory_mb": (memory_mb, 512),
            "memo": (memo, 0),
        }
        for name, (value, least) in given.items():
            if not value >= least:
                raise InputError(f"{name} is {value}, the least is {least:g}")
        self.timeout_s, self.memory_mb, self.workers = timeout_s, memory_mb, workers
        self.policies = policies or Policies()
        self._pool = WorkerPool(Program(MODULE, memory_mb, "the answer checker"), workers)
        self._memo = _Memo(memo)
        self._threads = Threads(workers)
        self._finalizer = weakref.finalize(self, self._pool.close)

    @functools.cached_property
    def identity(self) -> str:
        """As `identity_of`."""
        return identity_of(self.timeout_s, self.memory_mb, self.policies)

    def warm(self) -> None:
        """Starts all workers now. Raises CheckerError if they cannot be started."""
        self._pool.warm()

    def check(self, gold: str, answer: str, prompt: str = "", answer_type: str = "") -> Verdict:
        """The verdict on one pair. `prompt`: what was asked; a formula that only repeats it is not an answer.
        `answer_type`: what an answer must be (`records.AnswerType`), "" for anything; InputError for no type.

        Its `detail`: the answer that was read, the policies that decided, or what stood in the way. Its `seconds`:
        what reading and comparing took, without the wait for a free worker.
        """
        judged = self._judge(gold, answer, prompt, answer_type)
        return judged.verdict(self.policies) if judged.ruling.reason else self._confirmed(judged)

    async def acheck(self, gold: str, answer: str, prompt: str = "", answer_type: str = "") -> Verdict:
        """As `check`, without blocking the event loop."""
        pair = gold, answer, prompt, answer_type
        judged = await asyncio.to_thread(self._judge, *pair) if len(answer) > LONG else self._judge(*pair)
        if judged.ruling.reason:
            return judged.verdict(self.policies)
        return await asyncio.wrap_future(self._threads.get().submit(self._confirmed, judged))

    def check_many(self, pairs: Iterable[Pair]) -> list[Verdict]:
        """The verdicts on many pairs, in their order, by all workers."""
        return list(self.stream(pairs))

    def stream(self, pairs: Iterable[Pair]) -> Iterator[Verdict]:
        """As `check_many`, one by one, with a bounded number of pairs in memory."""
        window: deque[Verdict | Future[Verdict]] = deque()
        for pair in pairs:
            judged = self._judge(*pair)
            if judged.ruling.reason:
                window.append(judged.verdict(self.policies))
            else:
                window.append(self._threads.get().submit(self._confirmed, judged))
            if len(window) >= 64 * self.workers:
                yield _awaited(window.popleft())
        while window:
            yield _awaited(window.popleft())

    def _judge(self, gold: str, answer: str, prompt: str = "", answer_type: str = "") -> Judged:
        """What can be said without a worker; remembered for the same two answers."""
        start, answer_type = time.perf_counter(), checked(answer_type)
        try:
            found = located(gold, answer, self.policies)
            if prompt and found.ruling is None:
                one, other = of_question(found.gold, found.answer, prompt, self._same)
                found = found._replace(gold=one, answer=other)
            ruling = found.ruling or self._ruled(found, answer_type)
            if ruling.reason in _NOT_UNDERSTOOD and found.gold:
                found, ruling = self._as_stated(found, ruling, answer, prompt, answer_type)
            several = ruling.reason is Reason.DIFFERENT and _SIDE_BY_SIDE.search(answer)
            if several and any(self._same(found.gold, part) for part in found.answer.split(", ")):
                ruling = Ruling(Reason.NEEDS_POLICY, ruling.answer, "boxes side by side, one of which is right")
        except Exception as error:  # noqa: BLE001 - no text may end a run: out of memory, nested too deeply, our fault
            found, ruling = Located("", "", None), Ruling(Reason.OVER_LIMIT, "", type(error).__name__)
        return Judged(found, prompt, answer_type, ruling, time.perf_counter() - start)

    def _ruled(self, found: Located, answer_type: str) -> Ruling:
        """The ruling on two answers; remembered."""
        key = (found.gold, found.answer, answer_type)
        ruling = self._memo.get(key)
        if ruling is None:
            ruling = rule(found.gold, found.answer, self.policies, answer_type=answer_type)
            self._memo.put(key, ruling)
        return ruling

    def _as_stated(
        self, found: Located, ruling: Ruling, answer: str, prompt: str, answer_type: str
    ) -> tuple[Located, Ruling]:
        """The ruling on the value that a sentence states, if it is the gold one; else the one given."""
        rest = unmarked(answer)
        sentence = found.answer if rest is None else concluding(rest, prompt) or found.answer
        if sentence and prompt and plain(sentence) and says_in_its_words(found.gold, sentence, prompt):
            return found, Ruling(Reason.EQUAL, sentence, "the gold answer in the words of the question")
        said = self._said(sentence, found.gold, prompt) if sentence else None
        if said is None or not said.fits(found.gold):
            return found, ruling
        again = found._replace(answer=reworded(said.value), ruling=None)
        if prompt:
            one, other = of_question(again.gold, again.answer, prompt, self._same)
            again = again._replace(gold=one, answer=other)
        second = self._ruled(again, answer_type)
        return (again, second) if second.reason in (Reason.EQUAL, None) else (found, ruling)

    def _said(self, sentence: str, gold: str, prompt: str) -> Stated | None:
        """What a sentence states: the value of the formula that is asked for, the two between which something is,
        or else its one value."""
        if prompt and plain(sentence):
            if value := value_of_what_is_asked(sentence, prompt):
                return Stated(value)
            if pair := two_between(sentence, prompt):
                return Stated(f"[{pair}]" if gold.startswith("[") else pair)
        return stated(sentence, prompt)

    def _same(self, one: str, other: str) -> bool:
        """Whether two short texts are the same answer, as far as can be said at once."""
        if max(len(one), len(other)) > SHORT_OPTION or unreadable(one) or unreadable(other):
            return False
        return rule(reworded(one), reworded(other), self.policies).reason is Reason.EQUAL

    def _confirmed(self, judged: Judged) -> Verdict:
        """The verdict of a worker: a look at very many digits, then a proof. Where the proof alone runs into its
        limit, what was seen stands. What a limit ended is asked again next time."""
        key = (judged.found.gold, judged.found.answer, judged.answer_type)
        seen = self._asked(judged, prove=False)
        if seen.ruling.reason is Reason.EQUAL:
            proof = self._asked(seen, prove=True)
            if proof.ruling.reason not in _LIMITS:
                self._memo.put(key, proof.ruling)
                return proof.verdict(self.policies)
            seen = proof._replace(ruling=Ruling(Reason.EQUAL, judged.ruling.answer, UNPROVEN))
        elif seen.ruling.reason not in _LIMITS:
            self._memo.put(key, seen.ruling)
        return seen.verdict(self.policies)

    def _asked(self, judged: Judged, *, prove: bool) -> Judged:
        gold, answer, *_ = judged.found
        job = {"gold": gold, "answer": answer, "policies": self.policies.changed(), "prove": prove}
        job["answer_type"] = judged.answer_type
        seconds = 0.0
        try:
            reply, reason, detail, seconds = self._pool.ask(job, self.timeout_s)
        except StillroomError:
            raise
        except Exception as error:  # noqa: BLE001 - as above, where the two are handed over
            ruling = Ruling(Reason.OVER_LIMIT, "", type(error).__name__)
        else:
            why, said = (reason, detail) if reason else (reply["reason"], reply["detail"])
            ruling = Ruling(Reason(why), "", said)
        return judged._replace(ruling=ruling, seconds=judged.seconds + seconds)

    def pids(self) -> list[int]:
        """The worker processes that run now."""
        return self._pool.pids()

    def close(self) -> None:
        """Kills the workers and waits for them. Safe to call twice."""
        self._pool.close()
        self._threads.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _awaited(item: Verdict | Future[Verdict]) -> Verdict:
    return item if isinstance(item, Verdict) else item.result()


class _Memo:
    """What was said about the last `size` pairs of answers; thread-safe. Long answers, which seldom come again, are
    not kept: the memory is bounded."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._results: OrderedDict[tuple[str, str, str], Ruling] = OrderedDict()

    def get(self, key: tuple[str, str, str]) -> Ruling | None:
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
            return self._results.get(key)

    def put(self, key: tuple[str, str, str], result: Ruling) -> None:
        """Remembers a verdict, and forgets the one not asked for the longest."""
        if sum(map(len, key)) > REMEMBERED:
            return
        with self._lock:
            self._results[key] = result
            if len(self._results) > self._size:
                self._results.popitem(last=False)


_shared = AnswerChecker()  # nothing runs until a pair needs a worker; it ends with the process


def check(gold: str, answer: str, prompt: str = "", answer_type: str = "") -> Verdict:
    """Is this answer the gold answer? As `AnswerChecker.check`, with a checker of default limits that all callers
    share."""
    return _shared.check(gold, answer, prompt, answer_type)
