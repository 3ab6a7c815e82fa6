r"""No answer, gold or completion may cost the calling process more than a second or 300 MB.

Small texts that mean something huge are made by a generator: what can be repeated, nested, summed or multiplied, each
in several sizes, then compositions of these at random, then what is like the worst of them. They are judged in a
process of their own, which counts its CPU seconds (other work on the machine does not matter) and its memory, and
whose address space is limited. What it leaves to a worker is tried with one.

Run as a program, this module is that process: a JSON object a line, both ways.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import pytest

CPU_S, MEMORY_MB = 1.0, 300
SPACE_MB = 3_000
"""Address space of the process that judges."""
HANG_S = 20
"""CPU seconds after which it gives a shape up."""
ANSWER, TEXT = 4_090, 200_000
"""Characters of a box, and of a completion."""
SEED = 20_261_130


class Shape(NamedTuple):
    """Two texts to be compared. `last`: the last formula is taken where nothing is marked."""

    gold: str
    answer: str
    last: bool = False


class Cost(NamedTuple):
    """What judging a shape took, and what came of it."""

    cpu_s: float
    memory_mb: float
    outcome: str


# -- shapes ------------------------------------------------------------------------------------------------------------

ATOMS = ["1", "x", "7", "0.3", "-1", "9999", r"\pi", "e", "i", "n", "A", r"\frac{1}{3}", r"\sqrt{2}", "3.7e300", "y_1",
         "(1,2)", r"\{1,2\}", "1" + "0" * 300, "9" * 900, "k", "x_{k}", r"\text{red}", r"2\text{ km}"]  # fmt: skip
JOINS = ["+", "-", "*", r"\cdot ", ",", ";", " or ", " and ", r"\cup ", r"\cap ", r"\setminus ", "=", "<", r"\le ", ":",
         r"\pm ", "/", "^", "_", " ", r"\equiv ", r"\approx ", "!", r"\%", "'"]  # fmt: skip
AROUND = [
    (r"\frac{1}{1+", "}"), (r"\frac{", "}{3}"), (r"\frac{1}{x+", "}"), (r"\sqrt{1+", "}"), (r"\sqrt{x+", "}"),
    (r"\sqrt[3]{", "}"), (r"\binom{", "}{2}"), (r"\binom{3000}{", "}"), ("(", ")!"), (r"\Gamma(", ")"),
    (r"\sum_{k=1}^{300}", ""), (r"\prod_{j=1}^{300}", ""), (r"\sum_{x=1}^{17}{", "}"), (r"\sum_{k=1}^{300} k^2", ""),
    (r"\sum_{k=1}^{300}\binom{3000}{k}", ""), (r"\int_0^1 ", ""), (r"\lim_{x\to 0} ", ""), ("|", "|"),
    (r"\lfloor ", r"\rfloor "), (r"\sin(", ")"), (r"\tan(", ")"), (r"\arcsin(", ")"), (r"\ln(", ")"),
    (r"\log_2(", ")"), ("e^{", "}"), (r"\exp(", ")"), (r"\sinh(", ")"), (r"\gcd(", "+1,6)"),
    (r"\operatorname{lcm}(", ",6)"), (r"\max(", "+1,6)"), ("(", ")"), ("[", "]"), (r"\{", r"\}"), ("{", "}"),
    (r"\{x \mid ", r"\}"), (r"\text{", "}"), (r"\mathbf{", "}"), (r"\overline{", "}"), (r"\vec{", "}"), ("f(", ")"),
    ("(", ")^2"), ("(", ")^{9999}"), ("(", ")^{-3}"), ("(", ")^{1/2}"), ("(", ")^{3/4}"), ("(", ")^T"), ("2^{", "}"),
    ("-(", ")"), (r"\pm(", ")"), (r"\frac{1}{2}(", "+1)"), ("x(", "+1)"), ("(x+", ")(x-1)"), ("x_{", "}"),
    ("(", r")^\circ"), ("(", r")\%"), ("", r"\text{ km}"), ("", r"\pmod{7}"), ("(", ",1)"), ("(", ",1]"), ("x<", ""),
    (r"\boxed{", "}"), (r"\det ", ""), (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", ""),
    (r"\begin{pmatrix}x&1\\y&z\end{pmatrix}", ""), (r"\begin{pmatrix}1&1\\1&0\end{pmatrix}^{", "}"),
    (r"\begin{pmatrix}x&1\\1&0\end{pmatrix}^{99}", ""), (r"\begin{vmatrix}1&2\\3&", r"\end{vmatrix}"),
    (r"\begin{vmatrix}1&2&3&x\\a&b&c&d\\1&2&y&4\\e&f&g&", r"\end{vmatrix}"), ("the ", ""), ("$", "$"), ("    ", ""),
    (r"\dots ,", ""), (r"\phantom{", "}"), ("<sup>", "</sup>"), ("-", ""), (r"\pm", ""), (r"\left(", r"\right)"),
]  # fmt: skip
TABLES = ["pmatrix", "vmatrix", "cases", "aligned", "array"]
FILLERS = [" ", "\n", "\t", "a", "ab ", "1", "1,", "111,", "1 ", "$", "$x", r"\[", r"\(", r"\(1\)", "x. ", ". ", "*", ">",
           "A:", "\nA:", "A:x\n", "answer ", "answer is ", "answer to ", "answer:\n", "####", "\n#### ", "#### x\n",
           r"\boxed{", r"\boxed{1}", r"\boxed{1} and ", r"\boxed ", "{", "}", "<think>", "<think></think>", "⁰", "％",
           r"\begin{a}", r"\end{a}", "thus ", "is ", "a!", '"', "\\", "\\\\", "\u2060", r"\%", "-", "/1",
           "答案是", "所以", "元", "、", "1和", "ответ: ", "1 und ", "câu trả lời ", "이 ", "①", "１",
           r"\text{", r"\,", "~", "^{", "twenty ", "even ", "The a is ", "(about ", "1.234,", "(2)", "1\n\n",
           "(1,2) U ", r"\prime", "<answer>", "[ANSWER]", "<|im_end|>", "<|channel|>final<|message|>", "assistantfinal",
           "Question:\n", "I choose ", "n't "]  # fmt: skip
BEFORE = ["", "answer is ", "#### ", r"\boxed{", "x\n", "Thus $a$", r"\boxed{1}", r"\frac1", "x^", "x\n1",
          "答案是 ", r"\boxed{(1,2)", r"\boxed{\text{The sum is }", r"\boxed{twenty "]  # fmt: skip
AFTER = ["", "x", "}", "A", "1}", "元}"]


def joined(atom: str, join: str, size: int) -> str:
    return join.join([atom] * size)


def within(atom: str, around: tuple[str, str], depth: int) -> str:
    return around[0] * depth + atom + around[1] * depth


def table(atom: str, name: str, rows: int, columns: int) -> str:
    body = r"\\".join("&".join([atom] * columns) for _ in range(rows))
    return rf"\begin{{{name}}}{body}\end{{{name}}}"


Constructor = Callable[[str, int], str]
CONSTRUCTORS: list[Constructor] = [
    *(lambda atom, size, join=join: joined(atom, join, size) for join in JOINS),
    *(lambda atom, size, around=around: within(atom, around, size) for around in AROUND),
    *(lambda atom, size, name=name: table(atom, name, min(size, 6), min(size, 6)) for name in TABLES),
    *(lambda atom, size, name=name: table(atom, name, size, 1) for name in TABLES),
    *(lambda atom, size, name=name: table(atom, name, 1, size) for name in TABLES),
]


def fitting(constructor: Constructor, atom: str, size: int) -> str | None:
    """As large as asked, or as fits into an answer."""
    while size and len(made := constructor(atom, size)) > ANSWER:
        size //= 2
    return made if size else None


def partner(text: str, rng: random.Random) -> str:
    """What a text is compared with: something small, or something nearly like it."""
    varied = "".join(rng.choice("xyzab") if char == "x" and rng.random() < 0.5 else char for char in text)
    return rng.choice(["0", "1", "x", varied, text + "+0", "0+" + text, text.replace("1", "2", 1) + "x"])


def boxed(text: str, rng: random.Random) -> Shape:
    other = partner(text, rng)
    one, two = (text, other) if rng.random() < 0.5 else (other, text)
    return Shape(rf"\boxed{{{one}}}", rf"\boxed{{{two}}}")


def alone(rng: random.Random) -> Iterator[Shape]:
    """Every constructor in three sizes."""
    for constructor, size in itertools.product(CONSTRUCTORS, (4, 40, 2_000)):
        text = fitting(constructor, rng.choice(ATOMS[:16]), size)
        if text is not None:
            yield boxed(text, rng)


def composed(rng: random.Random, count: int) -> Iterator[Shape]:
    """Two to four constructors, each around what the one before has made."""
    for _ in range(count):
        text = rng.choice(ATOMS)
        for _ in range(rng.choice((2, 2, 3, 4))):
            text = fitting(rng.choice(CONSTRUCTORS), text, rng.choice((1, 2, 3, 5, 10, 30, 200))) or text
        yield boxed(text, rng)


def listed(rng: random.Random) -> Iterator[Shape]:
    """Many different parts, which nothing remembers: of a list, a set, a sum, a union, one function."""
    parts = [r"\sin %d", r"\sqrt{%d}", "%d^{9999}", r"\frac{1}{%d^{999}}", r"\pm %d", r"(%d,%d.5)", r"\{%d\}", "x^{%d}",
             r"e^{%di}", r"\Gamma(%d.5+i)", r"\binom{2999.%d}{1000.5}", "1.%de%d", r"\text{w%d}", "x_{%d}=%d",
             r"(\sin %d,2+e^{%d})", r"%d\text{ km}", r"|x-%d|<%d", "x+%d", r"\sum_{k=1}^{%d}k^3"]  # fmt: skip
    for part, join in itertools.product(parts, (",", "+", r"\cup ", "", "<", r"\cap ")):
        each = [part % ((k,) * part.count("%d")) for k in range(1, 191)]
        while len(join.join(each)) > ANSWER - 40:
            each.pop()
        text = join.join(each)
        around = rng.choice(["@", r"\{@\}", "(@)", r"\operatorname{lcm}(@)", r"\gcd(@)", r"\max(@)",
                             r"\mathbb{R}\setminus\{@\}"])  # fmt: skip
        other = join.join(rng.sample(each, len(each)))
        yield Shape(rf"\boxed{{{around.replace('@', text)}}}", rf"\boxed{{{around.replace('@', other)}}}")


def completions(rng: random.Random) -> Iterator[Shape]:
    """Whole texts in which a pattern could look for an end that never comes."""
    for filler, before, after in itertools.product(FILLERS, BEFORE, AFTER):
        length = rng.choice((ANSWER - 20, 4 * ANSWER, TEXT))
        text = before + filler * (length // len(filler)) + after
        sides = ("1", text) if rng.random() < 0.7 else (text, "1")
        yield Shape(*sides, last=rng.random() < 0.5)


# -- measuring ---------------------------------------------------------------------------------------------------------


class Judge:
    """The process that judges; started again when it dies. `workers`: whether it may ask a worker."""

    def __init__(self, *, workers: bool = False) -> None:
        self._workers = workers
        self._process = self._started()

    def _started(self) -> subprocess.Popen[str]:
        path = os.pathsep.join(filter(None, sys.path))
        return subprocess.Popen(
            [sys.executable, __file__, *(["--workers"] if self._workers else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
        )

    def cost(self, shape: Shape) -> Cost:
        stdin, stdout = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        stdin.write(json.dumps(shape._asdict()) + "\n")
        stdin.flush()
        line = stdout.readline()
        if line:
            return Cost(*json.loads(line))
        self.close()
        self._process = self._started()
        return Cost(0.0, SPACE_MB, "died")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            cast(IO[str], stream).close()


@pytest.fixture(scope="module")
def caller() -> Iterator[Judge]:
    made = Judge()
    yield made
    made.close()


def too_much(costs: dict[Shape, Cost]) -> list[tuple[Cost, str, str]]:
    """Those over a limit, the worst first, cut to what a person can look at."""
    over = [
        (cost, shape.gold[:120], shape.answer[:120])
        for shape, cost in costs.items()
        if cost.cpu_s > CPU_S or cost.memory_mb > MEMORY_MB or cost.outcome not in OUTCOMES
    ]
    return sorted(over, reverse=True)


OUTCOMES = frozenset(
    "equal different unparsed_gold unparsed_answer no_answer over_limit needs_policy not_worked_out timeout pending".split()  # noqa: SIM905
)


def test_every_constructor_in_every_size(caller: Judge) -> None:
    shapes = [*alone(random.Random(SEED)), *listed(random.Random(SEED))]
    assert len(shapes) >= 300
    assert too_much({shape: caller.cost(shape) for shape in shapes}) == []


def test_compositions_and_what_is_like_the_worst_of_them(caller: Judge) -> None:
    rng = random.Random(SEED)
    costs = {shape: caller.cost(shape) for shape in composed(rng, 500)}
    for _ in range(2):
        worst = sorted(costs, key=lambda shape: -costs[shape].cpu_s)[:10]
        for shape, constructor, size in itertools.product(worst, rng.sample(CONSTRUCTORS, 2), (1, 3)):
            text = max(shape.gold, shape.answer, key=len).removeprefix(r"\boxed{").removesuffix("}")
            changed = boxed(fitting(constructor, text, size) or text, rng)
            costs[changed] = caller.cost(changed)
    assert len(costs) >= 500
    assert too_much(costs) == []


def test_completions_that_never_end(caller: Judge) -> None:
    rng = random.Random(SEED)
    shapes = rng.sample(list(completions(rng)), 1_200)
    assert too_much({shape: caller.cost(shape) for shape in shapes}) == []


def test_what_is_left_to_a_worker_is_ended_there() -> None:
    caller, patient = Judge(), Judge(workers=True)
    pending: list[Shape] = []
    rng = random.Random(SEED + 1)
    for shape in itertools.chain(composed(rng, 300), alone(rng)):
        if len(pending) < 12 and caller.cost(shape).outcome == "pending":
            pending.append(shape)
    caller.close()
    assert len(pending) >= 10
    costs = {shape: patient.cost(shape) for shape in pending}
    patient.close()
    assert too_much(costs) == []


# -- the process -------------------------------------------------------------------------------------------------------


class Hang(BaseException):
    """The shape took HANG_S."""


def serve(*, workers: bool) -> None:
    """Judges what comes in, and says what each has cost this process."""
    from stillroom.traces.answers.checker import AnswerChecker
    from stillroom.traces.answers.grade import judge
    from stillroom.traces.answers.records import Policies

    def hang(*_: Any) -> None:
        raise Hang

    checker = AnswerChecker(workers=1, timeout_s=0.5)
    if workers:
        checker.warm()
    judge(r"\sin x", r"\cos(x)")  # loads what is loaded once
    signal.signal(signal.SIGPROF, hang)
    resource.setrlimit(resource.RLIMIT_AS, (SPACE_MB << 20, SPACE_MB << 20))
    for line in sys.stdin:
        shape = Shape(**json.loads(line))
        memory, start = peak_mb(), time.process_time()
        signal.setitimer(signal.ITIMER_PROF, HANG_S)
        try:
            if workers:
                outcome = str(checker.check(shape.gold, shape.answer).reason)
            else:
                ruling = judge(shape.gold, shape.answer, Policies(unmarked="last" if shape.last else "line"))
                outcome = ruling.reason.value if ruling.reason else "pending"
        except Hang:
            outcome = "hang"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what the test is about
            outcome = type(error).__name__
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(Cost(time.process_time() - start, peak_mb() - memory, outcome)), flush=True)
    checker.close()


def peak_mb() -> float:
    """The most memory that this process ever had. macOS counts bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


if __name__ == "__main__":
    sys.path[:] = [entry for entry in sys.path if entry != str(Path(__file__).parent)]
    serve(workers="--workers" in sys.argv)
