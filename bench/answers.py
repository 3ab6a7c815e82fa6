"""Measures the answer checker and Math-Verify on the same pairs in the same run; prints the table of docs/answers.md.

    python bench/answers.py ../shared/data [--quick] [--only hostile] [--verbose] [--json FILE]

DATA is the folder of labelled pairs. Three things are measured: speed on whole completions (CPU seconds, children
included, warm-up apart), agreement with labels, and hostile answers within 10 s and 2 GB each. Math-Verify runs in
processes of its own, as its README shows, with its default limits; where wrapping bare LaTeX in $...$ helps it, it
gets that. Nothing is tuned here: an accepted pair whose label is false is a false accept; a pair whose label is true
and that is not accepted is a miss, unscored or not. Pairs whose label is null are left out. Address-space limits and
process groups are needed, so it refuses to run on Windows.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import platform
import random
import re
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from datetime import date
from importlib.metadata import version
from itertools import chain, combinations, islice, zip_longest
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Self

from stillroom.errors import InputError, MissingFile, StillroomError
from stillroom.sampling.records import State, Verdict
from stillroom.traces.answers import AnswerChecker
from stillroom.traces.answers.policies import Policies

SEED, PAIRS = 7, 5000
OURS, THEIRS, NO_MEMO = "ours", "Math-Verify", "ours, memo=0"
TIME_LIMIT_S, MEMORY_LIMIT_MB = 10.0, 2048
"""What a hostile pair may take; the labelled sets run Math-Verify within the same limits."""

ASKED = {
    "hardverify_dev": "≥ .86, at most 1 false accept",
    "reported_dev": "≥ .97",
    "natural_false_positives_dev": "none wrong",
    "inspect_dev": "≥ .97",
    "nemo_skills_dev": "≥ .97",
    "hendrycks": "≥ .97",
    "math_verify": "every right label",
}
"""The labelled sets, and what is asked of ours."""

POLICIES_BY_SET: Mapping[str, dict[str, str]] = {
    "hendrycks": {"list_order": "given", "percent": "bare"},
    "nemo_skills_dev": {"percent": "bare"},
}
"""Sets whose labels follow a convention that is not our default."""

WRONG_LABELS = {(r"$1 - \frac{1}{\mathrm{e}}$", r"$1 + \frac{1}{\mathrm{e}}$")}
"""Pairs of math_verify labelled true that are not equal: whoever accepts one is wrong."""

WARM_UP = (("7", r"So $x = \boxed{7}$."), (r"\frac{1}{2}", r"So it is $\boxed{0.5}$."), ("$x+1$", r"\boxed{1+x}"))


class Row(NamedTuple):
    """A pair and its label; `kind`: how it was made; `options`: what its source sets for the comparison."""

    gold: str
    answer: str
    label: bool | None
    kind: str = ""
    options: Mapping[str, Any] = {}


# -- the pairs ---------------------------------------------------------------------------------------------------


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file. Raises MissingFile."""
    if not path.is_file():
        raise MissingFile(f"there is no {path}: give the folder that holds answers/, gsm8k/ and math500/")
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def labelled(data: Path, name: str) -> list[Row]:
    """The rows of a labelled set that have a label, with known wrong labels put right."""
    rows = (
        Row(row["gold"], row["pred"] or "", row.get("expected"), options=row.get("options", {}))
        for row in read_rows(data / "answers" / f"{name}.jsonl")
    )
    return [
        row._replace(label=False) if (row.gold, row.answer) in WRONG_LABELS else row
        for row in rows
        if row.label is not None
    ]


def gsm8k_rows(data: Path, bare: bool) -> list[Row]:
    """Ground truths of GSM8K against the recorded solutions, labelled as graded; seeded order.

    `bare`: the gold is the answer alone, which a ground truth has at its end ("A: 18").
    """
    rows = [
        Row(
            row["ground_truth"].rpartition("A: " if bare else "\0")[2],
            attempt["solution"],
            attempt["is_correct"],
            f"GSM8K {attempt['is_correct']}",
        )
        for row in read_rows(data / "gsm8k" / "graded_solutions_dev.jsonl")
        for attempt in row.values()
        if isinstance(attempt, dict)
    ]
    random.Random(SEED).shuffle(rows)
    return unique(rows)


def unique(rows: Iterable[Row]) -> list[Row]:
    """The rows in their order, each (gold, answer) once."""
    return list({(row.gold, row.answer): row for row in reversed(list(rows))}.values())[::-1]


def final_box(solution: str) -> tuple[int, int]:
    """Where the content of the last box begins and ends."""
    begin = solution.rindex(r"\boxed{") + len(r"\boxed{")
    depth, end = 1, begin
    while depth:
        depth += {"{": 1, "}": -1}.get(solution[end], 0)
        end += 1
    return begin, end - 1


def reboxed(solution: str, change: Callable[[str], str]) -> str:
    """The solution with the content of its last box changed. The same where there are several boxes."""
    if solution.count(r"\boxed") != 1:
        return solution
    begin, end = final_box(solution)
    return solution[:begin] + change(solution[begin:end]) + solution[end:]


def spaced(content: str) -> str:
    """Spaces at the ends and around signs, which LaTeX ignores; text keeps its own."""
    return content if r"\text" in content else " " + re.sub("([-+=])", r" \1 ", content) + " "


def left_right(content: str) -> str:
    r"""`\left(` and `\right)` for plain brackets."""
    if re.search(r"\\(left|right|text|begin|[{}])|\]\{|\\sqrt\[", content):
        return content
    return re.sub(r"[\])]", r"\\right\g<0>", re.sub(r"[(\[]", r"\\left\g<0>", content))


def slashed(content: str) -> str:
    r"""`a/b` for `\frac{a}{b}` of integers that stands as a term, so that nothing else binds to it."""
    return re.sub(r"(^|[-+=(,] ?)\\d?frac\{(\d+)\}\{(\d+)\}(?=$| ?[-+=),])", r"\1\2/\3", content)


def sentence(solution: str) -> str:
    """The box moved to a sentence at the end."""
    if solution.count(r"\boxed") != 1:
        return solution
    begin, end = final_box(solution)
    bare = solution[: begin - len(r"\boxed{")] + solution[begin:end] + solution[end + 1 :]
    return f"{bare}\nThe final answer is $\\boxed{{{solution[begin:end]}}}$."


REWRITINGS: dict[str, Callable[[str], str]] = {
    "sentence": sentence,
    "dfrac": lambda solution: solution.replace(r"\frac", r"\dfrac"),
    "left": lambda solution: reboxed(solution, left_right),
    "spaces": lambda solution: reboxed(solution, spaced),
    "slash": lambda solution: reboxed(solution, slashed),
}


def rewritten(solution: str) -> Iterator[tuple[str, str]]:
    """The solution and all its rewritings that differ, each with the names of those that made it."""
    seen: set[str] = set()
    for names in chain.from_iterable(combinations(REWRITINGS, size) for size in range(len(REWRITINGS) + 1)):
        text = solution
        for name in reversed(names):  # `slash` before `dfrac` and `left`, `sentence` last
            text = REWRITINGS[name](text)
        if text not in seen:
            seen.add(text)
            yield "+".join(names) or "as it is", text


def right_rows(row: dict[str, Any]) -> Iterator[Row]:
    """A gold answer of MATH against its own solution and that solution's rewritings."""
    for name, text in rewritten(row["solution"]):
        yield Row(row["answer"], text, True, "MATH own solution" if name == "as it is" else "MATH rewritten")


def near_misses(row: dict[str, Any], chance: random.Random) -> list[Row]:
    """A gold answer against its own solution with one sign or one digit of the box changed."""

    def sign(content: str) -> str:
        if content.startswith("-"):
            return content[1:]
        return re.sub("[-+]", lambda match: "-" if match[0] == "+" else "+", content, count=1)

    def digit(content: str) -> str:
        places = [match.start() for match in re.finditer(r"\d", content)]
        if not places:
            return content
        place = chance.choice(places)
        other = chance.choice([d for d in "123456789" if d != content[place]])
        return content[:place] + other + content[place + 1 :]

    texts = [(how.__name__, reboxed(row["solution"], how)) for how in (digit, sign, digit)]
    return [Row(row["answer"], text, False, f"MATH {how} changed") for how, text in texts]


def skeleton(answer: str) -> str:
    r"""Digits, letters and signs without commands: `\frac43`, `\dfrac{4}{3}` and `30^\circ`, `30` are told as one."""
    return re.sub(r"[^-\w]|_", "", re.sub(r"\\[a-zA-Z]+", "", answer))


def crossed(row: dict[str, Any], rows: list[dict[str, Any]], chance: random.Random) -> Iterator[Row]:
    """A gold answer against solutions of other problems whose answer is another, those of its subject first."""
    others = [other for other in rows if skeleton(other["answer"]) != skeleton(row["answer"])]
    chance.shuffle(others)
    for other in sorted(others, key=lambda other: bool(other["subject"] != row["subject"])):
        yield Row(row["answer"], other["solution"], False, "MATH other solution")


def wrong_rows(row: dict[str, Any], rows: list[dict[str, Any]]) -> Iterator[Row]:
    """Near misses and solutions of other problems, in turn."""
    chance = random.Random(f"{SEED} {row['unique_id']}")
    near = [miss for miss in near_misses(row, chance) if miss.answer != row["solution"]]
    turns = zip_longest(near, islice(crossed(row, rows, chance), 12))
    yield from (found for found in chain.from_iterable(turns) if found)


def in_turn(streams: Iterable[Iterator[Row]]) -> list[Row]:
    """The first of each stream, then the second of each, and so on."""
    return [row for turn in zip_longest(*streams) for row in turn if row]


def speed_rows(data: Path, bare: bool = False) -> list[Row]:
    """The pairs: half GSM8K, half MATH, half of all right. Raises InputError where the files hold too few."""
    half = PAIRS // 2
    gsm8k, math = gsm8k_rows(data, bare), list(read_rows(data / "math500" / "math500_dev.jsonl"))
    graded = {label: [row for row in gsm8k if row.label is label] for label in (True, False)}
    right = min(half // 2, len(graded[True]))
    chosen = graded[True][:right] + graded[False][: half - right]
    chosen += unique(in_turn(map(right_rows, math)))[: half - right]
    chosen += unique(in_turn(wrong_rows(row, math) for row in math))[:right]
    if len(unique(chosen)) != 2 * half:
        raise InputError(f"the files in {data} give {len(unique(chosen))} pairs instead of {2 * half}: lower PAIRS")
    random.Random(SEED).shuffle(chosen)
    return chosen


# -- the two sides -----------------------------------------------------------------------------------------------


def wrapped(text: str) -> str:
    """Bare LaTeX in $...$, which Math-Verify needs; a text with delimiters, a box or lines of its own stays."""
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


class Timing(NamedTuple):
    """`warm_s`, `cpu_s`: CPU seconds of the process and its children, to get ready and for all pairs.
    `verdicts`: one for each pair."""

    warm_s: float
    cpu_s: float
    verdicts: list[Verdict]


def cpu_seconds(pids: Iterable[int] = ()) -> float:
    """CPU seconds so far of this process, of its children that ended, and of living children."""
    import resource

    ended = resource.getrusage(resource.RUSAGE_CHILDREN)  # finer than os.times, which counts ticks of 10 ms
    return time.process_time() + ended.ru_utime + ended.ru_stime + sum(map(living_seconds, pids))


def living_seconds(pid: int) -> float:
    """CPU seconds of another process, by its clock (clock_getcpuclockid of POSIX, as Linux numbers them).

    0 where there is none: its warm-up then counts as work, to our disadvantage.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def time_ours(rows: list[Row], memo: int) -> Timing:
    """Times ours; to be called in a fresh process."""
    begin = cpu_seconds()
    checker = AnswerChecker(memo=memo)
    checker.warm()
    checker.check_many(WARM_UP)
    ready = cpu_seconds(checker.pids())
    verdicts = checker.check_many((row.gold, row.answer) for row in rows)
    checker.close()
    return Timing(ready - begin, cpu_seconds() - ready, verdicts)


def time_math_verify(rows: list[Row], _: int) -> Timing:
    """Times Math-Verify; to be called in a fresh process."""
    begin = cpu_seconds()
    accepts = math_verify()
    for gold, answer in WARM_UP:
        accepts(Row(wrapped(gold), answer, None))
    ready = cpu_seconds()
    accepted = [accepts(row._replace(gold=wrapped(row.gold))) for row in rows]
    return Timing(ready - begin, cpu_seconds() - ready, [as_verdict(each) for each in accepted])


def as_verdict(accepted: bool) -> Verdict:
    return Verdict(State.ACCEPTED, "equal") if accepted else Verdict(State.REJECTED, "different")


def in_fresh_process(timed: Callable[[list[Row], int], Timing], rows: list[Row], memo: int) -> Timing:
    """One timing in a process that has done nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(timed, rows, memo).result()


def serve(pipe: Connection, side: str, folder: str) -> None:
    """Answers rows over a pipe until its other end closes; a process group of its own, within the memory limit."""
    import resource

    os.setsid()
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_MB << 20, MEMORY_LIMIT_MB << 20))
    check = ours_guarded() if side == OURS else math_verify_guarded()
    pipe.send("ready")
    try:
        while True:
            row = pipe.recv()
            begin = time.perf_counter()
            verdict = check(row)
            pipe.send((verdict, time.perf_counter() - begin))
    except EOFError:
        return


def ours_guarded() -> Callable[[Row], Verdict]:
    checker = AnswerChecker(timeout_s=5, memory_mb=MEMORY_LIMIT_MB)
    checker.warm()
    return lambda row: checker.check(row.gold, row.answer)


def math_verify_guarded() -> Callable[[Row], Verdict]:
    accepts = math_verify()
    for gold, answer in WARM_UP:
        accepts(Row(wrapped(gold), answer, None))
    return lambda row: as_verdict(accepts(row))


class Guarded(NamedTuple):
    """A guarded verdict. `over`: it was over its time or memory limit, or its process died."""

    verdict: Verdict
    seconds: float
    over: bool


class Guard:
    """A side in a process that is killed when a pair is over its limits, and started again for the next one.

    `folder`: its working directory. `fresh`: a new process for every pair.
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
        if not self._pipe.poll(120) or self._pipe.recv() != "ready":
            raise InputError(f"{self._side} did not start within 120 s")

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


# -- what is measured --------------------------------------------------------------------------------------------


class Errors(NamedTuple):
    """What a side got wrong among rows with a label. `unscored`: of the misses, those left unscored."""

    rows: int
    false_accepts: int
    misses: int
    unscored: int

    @property
    def agreed(self) -> float:
        return 1 - (self.false_accepts + self.misses) / self.rows

    def __str__(self) -> str:
        unscored = f" (unscored: {self.unscored})" if self.unscored else ""
        return f"false accepts: {self.false_accepts}, misses: {self.misses}{unscored}"


def errors(rows: list[Row], verdicts: Iterable[Verdict]) -> Errors:
    """Counts what disagrees with the labels."""
    counts = Counter((row.label, verdict.state) for row, verdict in zip(rows, verdicts, strict=True))
    unscored = counts[True, State.UNSCORED]
    return Errors(len(rows), counts[False, State.ACCEPTED], counts[True, State.REJECTED] + unscored, unscored)


class Report:
    """Collects the lines of the table, the details under it and the data for --json."""

    def __init__(self, verbose: bool) -> None:
        self.lines: list[tuple[str, str, str, str]] = []
        self.details: list[str] = []
        self.data: dict[str, Any] = {}
        self._verbose = verbose

    def line(self, name: str, asked: str, theirs: str, ours: str) -> None:
        """One line of the table."""
        self.lines.append((name, asked, theirs, ours))

    def disagreements(self, name: str, rows: list[Row], ours: list[Verdict], theirs: list[Verdict] | None) -> None:
        """The rows where ours disagrees with the label: into the data, and when verbose under the table."""
        found = [
            shown(row, verdict, theirs[place] if theirs else None)
            for place, (row, verdict) in enumerate(zip(rows, ours, strict=True))
            if row.label is not (verdict.state is State.ACCEPTED)
        ]
        self.data.setdefault(name, {})["disagreements"] = found
        if self._verbose and found:
            self.details.append(f"{name}: {len(found)} rows where ours disagrees")
            self.details += [f"  {json.dumps(each, ensure_ascii=False)}" for each in found]

    def table(self) -> str:
        """The lines as an aligned Markdown table."""
        rows = [("", "ours must", f"Math-Verify {installed('math-verify')}", "ours"), *self.lines]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
        return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def shown(row: Row, verdict: Verdict, theirs: Verdict | None) -> dict[str, Any]:
    """A row and its verdict, cut for reading: an answer is at its end."""
    made = {"kind": row.kind} if row.kind else {}
    said = {"verdict": verdict.state, "reason": verdict.reason, "detail": verdict.detail}
    other = {"math_verify": theirs.state} if theirs else {}
    return {**made, "gold": row.gold[-80:], "answer": row.answer[-80:], "label": row.label, **said, **other}


def measure_speed(data: Path, report: Report, given: argparse.Namespace) -> None:
    """Pairs per CPU second and errors, the sides in turn."""
    rows = speed_rows(data, given.bare_golds)
    if given.quick:
        rows = [row for label in (True, False) for row in [row for row in rows if row.label is label][:250]]
    makeup = dict(sorted(Counter(row.kind for row in rows).items()))
    ways = {OURS: (time_ours, 65_536), THEIRS: (time_math_verify, 0), NO_MEMO: (time_ours, 0)}
    if given.no_math_verify:
        del ways[THEIRS]
    timings: dict[str, list[Timing]] = {way: [] for way in ways}
    for turn in range(1 if given.quick else 3):
        for way, (timed, memo) in ways.items():
            progress(f"speed, turn {turn + 1}: {way}")
            timings[way].append(in_fresh_process(timed, rows, memo))
    report.data["speed"] = {"pairs": len(rows), "make-up": makeup}
    report.details.append(f"speed, make-up of the {len(rows):,} pairs: {makeup}")
    speed_lines(report, rows, timings)


def speed_lines(report: Report, rows: list[Row], timings: dict[str, list[Timing]]) -> None:
    """The lines and details of the timings of each way."""
    rates = {way: [len(rows) / each.cpu_s for each in found] for way, found in timings.items()}
    cells = {way: rate_cell(found, rates.get(THEIRS)) for way, found in rates.items()}
    wrong = {way: errors(rows, found[0].verdicts) for way, found in timings.items()}
    name = f"speed: pairs per CPU second, {len(rows):,} pairs, median of {len(rates[OURS])} (least–most)"
    report.line(name, "≥ 10 × in the same run", cells.get(THEIRS, "–"), cells[OURS])
    report.line("the same with memo=0 (other caches stay)", "–", "–", cells[NO_MEMO])
    report.line("errors in these pairs", "no more", str(wrong.get(THEIRS, "–")), str(wrong[OURS]))
    for way, found in timings.items():
        warm = statistics.median(each.warm_s for each in found)
        changed = sum(errors(rows, each.verdicts) != wrong[way] for each in found)
        report.details.append(
            f"speed, {way}: warm-up {warm:.2f} CPU s (left out), turns with other errors: {changed}"
        )
    report.data["speed"] |= {"rates": rates, "errors": {way: each._asdict() for way, each in wrong.items()}}
    theirs = timings[THEIRS][0].verdicts if THEIRS in timings else None
    report.disagreements("speed", rows, timings[OURS][0].verdicts, theirs)


def rate_cell(rates: list[float], theirs: list[float] | None) -> str:
    """Median and spread of the turns, and how many times the median of Math-Verify."""
    median = statistics.median(rates)
    times = f", {median / statistics.median(theirs):.1f} ×" if theirs and theirs is not rates else ""
    return f"{median:,.0f} ({min(rates):,.0f}–{max(rates):,.0f}){times}"


def policies_for(name: str, row: Row) -> Policies:
    """The policies that a row's label follows: its set's, or for Math-Verify's own suite those of its test."""
    return Policies.of(suite_policies(row) if name == "math_verify" else POLICIES_BY_SET.get(name, {}))


RELATION = re.compile(r"\\[lg]eq?(?![a-zA-Z])|[<>≤≥]")


def suite_policies(row: Row) -> dict[str, Any]:
    """What the options of a test of Math-Verify mean as policies."""
    options, found = row.options, {}
    if "expr" in options.get("match_types", ["latex", "expr"]) or r"\boxed" not in row.answer:
        found["unmarked"] = "last"
    if options.get("precision") == 2:
        found["rounding"] = "tolerant"
    if (
        options.get("allow_set_relation_comp") is False
        and RELATION.search(row.answer)
        and not RELATION.search(row.gold)
    ):
        found["inequalities"] = "distinct"  # Math-Verify's rule holds one way round only
    if "strict" in options:
        found["parameters"] = "strict" if options["strict"] else "free"
    return found


def ours_on(name: str, rows: list[Row]) -> list[Verdict]:
    """Our verdicts, one checker for each combination of policies."""
    verdicts: dict[int, Verdict] = {}
    wanted = [policies_for(name, row) for row in rows]
    for policies in dict.fromkeys(wanted):
        places = [place for place, each in enumerate(wanted) if each == policies]
        with AnswerChecker(policies=policies) as checker:
            found = checker.check_many((rows[place].gold, rows[place].answer) for place in places)
        verdicts.update(zip(places, found, strict=True))
    return [verdicts[place] for place in range(len(rows))]


WAYS: dict[str, Callable[[Row], Row]] = {
    "as given": lambda row: row,
    "gold in $": lambda row: row._replace(gold=wrapped(row.gold)),
    "both in $": lambda row: row._replace(gold=wrapped(row.gold), answer=wrapped(row.answer)),
}
"""How Math-Verify is given a set: the way that agrees best with the labels counts."""


def theirs_on(name: str, rows: list[Row], report: Report) -> list[Verdict]:
    """Math-Verify's verdicts, given in the way that suits it best."""
    said: dict[tuple[str, str, str], Guarded] = {}
    with tempfile.TemporaryDirectory() as folder, Guard(THEIRS, folder) as guard:
        for row in chain.from_iterable(map(way, rows) for way in WAYS.values()):
            key = (row.gold, row.answer, json.dumps(row.options))
            said[key] = said.get(key) or guard.ask(row)
    found = {
        way: [said[row.gold, row.answer, json.dumps(row.options)] for row in map(change, rows)]
        for way, change in WAYS.items()
    }
    wrong = {way: errors(rows, [each.verdict for each in said]) for way, said in found.items()}
    best = max(wrong, key=lambda way: wrong[way].agreed)
    over = sum(each.over for each in found[best])
    shares = ", ".join(f"{way} {each.agreed:.3f}" for way, each in wrong.items())
    report.details.append(f"{name}, Math-Verify: {shares}; best: {best}; over {TIME_LIMIT_S:g} s or 2 GB: {over}")
    return [each.verdict for each in found[best]]


def measure_set(name: str, data: Path, report: Report, given: argparse.Namespace) -> None:
    """Agreement of both with the labels of one set."""
    progress(name)
    rows = labelled(data, name)
    theirs = None if given.no_math_verify else theirs_on(name, rows, report)
    ours = ours_on(name, rows)
    cells = [
        f"{each.agreed:.3f}: {each}" if each else "–"
        for each in (theirs and errors(rows, theirs), errors(rows, ours))
    ]
    report.line(f"{name}, {len(rows)} labelled rows", ASKED[name], *cells)
    used = Counter(policies_for(name, row).identity() for row in rows)
    report.details.append(f"{name}, ours: policies {dict(used)}")
    report.data[name] = {
        "ours": errors(rows, ours)._asdict(),
        "theirs": errors(rows, theirs)._asdict() if theirs else None,
    }
    report.disagreements(name, rows, ours, theirs)


def measure_hostile(data: Path, report: Report, given: argparse.Namespace) -> None:
    """Hostile pairs, each within its own limits, in an empty working directory."""
    source = list(read_rows(data / "answers" / "hostile_dev.jsonl"))
    rows = [Row(row["gold"], row["pred"], None, row["name"]) for row in source]
    sides = {OURS: False} if given.no_math_verify else {THEIRS: True, OURS: False}
    cells = {side: hostile_cell(side, rows, report, fresh=fresh) for side, fresh in sides.items()}
    asked = "none over its limit, no code run"
    report.line(f"hostile_dev, {len(rows)} rows; 10 s, 2 GB each", asked, cells.get(THEIRS, "–"), cells[OURS])


def hostile_cell(side: str, rows: list[Row], report: Report, *, fresh: bool) -> str:
    """One side on the hostile pairs. Any file left in its working directory was made by an answer."""
    with tempfile.TemporaryDirectory() as folder, Guard(side, folder, fresh=fresh) as guard:
        said = []
        for place, row in enumerate(rows):
            progress(f"hostile, {side}: {place + 1} of {len(rows)}")
            said.append(guard.ask(row))
        files = sorted(path.name for path in Path(folder).iterdir())
    over = [row.kind for row, each in zip(rows, said, strict=True) if each.over]
    slow = sum(each.seconds > 3 for each in said)
    accepted = [row.kind for row, each in zip(rows, said, strict=True) if each.verdict.state is State.ACCEPTED]
    slowest = max(zip(said, rows, strict=True), key=lambda both: both[0].seconds)
    report.details.append(
        f"hostile, {side}: over {over}, slowest {slowest[1].kind}, accepted {accepted}, files {files}"
    )
    verdicts = {row.kind: [each.verdict.reason, each.seconds] for row, each in zip(rows, said, strict=True)}
    report.data.setdefault("hostile", {})[side] = {"over": over, "files": files, "verdicts": verdicts}
    return f"{len(over)} over, {slow} above 3 s, slowest {slowest[0].seconds:.2f} s, {len(files)} files made"


# -- the run -----------------------------------------------------------------------------------------------------


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def installed(package: str) -> str:
    return version(package) if importlib.util.find_spec(package.replace("-", "_")) else "(not installed)"


def machine() -> str:
    """The machine, the versions and the date."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.is_file() else []
    cpu = names[0] if names else platform.processor() or platform.machine()
    packages = ("math-verify", "latex2sympy2_extended", "sympy")
    versions = ", ".join(f"{package} {installed(package)}" for package in packages)
    load = f"load {os.getloadavg()[0]:.1f} at the end"
    return f"{date.today()}; {os.cpu_count()} cores, {cpu}, {load}; Python {platform.python_version()}, {versions}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder that holds answers/, gsm8k/ and math500/")
    parser.add_argument("--quick", action="store_true", help="speed: 500 pairs, once")
    parser.add_argument("--bare-golds", action="store_true", help="speed: GSM8K golds without their solutions")
    parser.add_argument("--only", choices=["speed", *ASKED, "hostile"], help="one measurement alone")
    parser.add_argument("--verbose", action="store_true", help="list every row where ours disagrees with its label")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures and disagreements there too")
    parser.add_argument("--no-math-verify", action="store_true", help="ours alone")
    return parser.parse_args()


def run(given: argparse.Namespace) -> Report:
    """All measurements that are asked for."""
    if not given.data.is_dir():
        raise MissingFile(f"there is no folder {given.data}: give the one that holds answers/, gsm8k/ and math500/")
    if os.name != "posix":
        raise InputError("this benchmark needs address-space limits and process groups: run it on Linux or under WSL")
    if not given.no_math_verify and importlib.util.find_spec("math_verify") is None:
        raise InputError("math-verify is not installed: pip install math-verify, or pass --no-math-verify")
    report = Report(given.verbose)
    wanted = [given.only] if given.only else ["speed", *ASKED, "hostile"]
    for name in wanted:
        if name == "speed":
            measure_speed(given.data, report, given)
        elif name == "hostile":
            measure_hostile(given.data, report, given)
        else:
            measure_set(name, given.data, report, given)
    return report


def main() -> int:
    given = arguments()
    try:
        report = run(given)
    except StillroomError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    facts = machine()
    print(report.table(), "", facts, *report.details, sep="\n")
    if given.json:
        report.data |= {"machine": facts, "table": report.lines}
        given.json.write_text(json.dumps(report.data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
