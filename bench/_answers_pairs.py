r"""The 5,000 pairs of the speed measurement: whole completions and golds, half of GSM8K, half of MATH, half right.

GSM8K gives recorded solutions as graded. MATH gives its own solutions and rewritings of them that change nothing
(right), the same with one digit or sign of the box changed, and solutions of other problems (wrong). Everything is
seeded: the same files give the same pairs. It refuses files that hold too few.

    rows = speed_rows(Path("../shared/data"))       # 5,000 rows, each (gold, answer) once
    list(rewritten(r"It is $\boxed{\frac12}$."))    # as it is, dfrac, sentence, ...
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, combinations, islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.errors import InputError, MissingFile

SEED, PAIRS = 7, 5000


class Row(NamedTuple):
    """A pair and its label, None where there is none.

    `kind`: how it was made, or its name; `options`: what its source sets for the comparison.
    """

    gold: str
    answer: str
    label: bool | None
    kind: str = ""
    options: Mapping[str, Any] = {}


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file. Raises MissingFile."""
    if not path.is_file():
        raise MissingFile(f"there is no {path}: give the folder that holds answers/, gsm8k/ and math500/")
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def speed_rows(data: Path, *, long_golds: bool = False) -> list[Row]:
    """The pairs in seeded order. `long_golds` as in `gsm8k_rows`.

    Raises MissingFile, and InputError where the files hold too few.
    """
    half = PAIRS // 2
    gsm8k, math = gsm8k_rows(data, long_golds=long_golds), list(read_rows(data / "math500" / "math500_dev.jsonl"))
    graded = {label: [row for row in gsm8k if row.label is label] for label in (True, False)}
    right = min(half // 2, len(graded[True]))
    chosen = graded[True][:right] + graded[False][: half - right]
    chosen += unique(in_turn(map(right_rows, math)))[: half - right]
    chosen += unique(in_turn(wrong_rows(row, math) for row in math))[:right]
    if len(unique(chosen)) != 2 * half:
        raise InputError(f"the files in {data} give {len(unique(chosen))} pairs instead of {2 * half}: lower PAIRS")
    random.Random(SEED).shuffle(chosen)
    return chosen


def gsm8k_rows(data: Path, *, long_golds: bool) -> list[Row]:
    """GSM8K's golds against the recorded solutions, labelled as graded; seeded order. Raises MissingFile.

    A ground truth is a solution with the answer at its end ("A: 18"); `long_golds` keeps all of it.
    """
    mark = "\0" if long_golds else "A: "
    rows = [
        Row(
            row["ground_truth"].rpartition(mark)[2],
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
    """Each (gold, answer) once: its first row, at the place of its last.

    >>> [row.kind for row in unique([Row("1", "1", True, "a"), Row("2", "1", False, "b"), Row("1", "1", True, "c")])]
    ['b', 'a']
    """
    return list({(row.gold, row.answer): row for row in reversed(list(rows))}.values())[::-1]


def in_turn(streams: Iterable[Iterator[Row]]) -> list[Row]:
    """The first of each stream, then the second of each, and so on."""
    return [row for turn in zip_longest(*streams) for row in turn if row]


# -- right: rewritings that change nothing -------------------------------------------------------------------------


def final_box(solution: str) -> tuple[int, int]:
    r"""Where the content of the last box begins and ends. Raises ValueError where there is no box.

    >>> final_box(r"\boxed{1+{x}}.")
    (7, 12)
    """
    begin = solution.rindex(r"\boxed{") + len(r"\boxed{")
    depth, end = 1, begin
    while depth:
        depth += {"{": 1, "}": -1}.get(solution[end], 0)
        end += 1
    return begin, end - 1


def reboxed(solution: str, change: Callable[[str], str]) -> str:
    r"""The solution with the content of its last box changed. The same where there are several boxes.

    >>> reboxed(r"So $\boxed{a}$.", str.upper)
    'So $\\boxed{A}$.'
    """
    if solution.count(r"\boxed") != 1:
        return solution
    begin, end = final_box(solution)
    return solution[:begin] + change(solution[begin:end]) + solution[end:]


def spaced(content: str) -> str:
    """Spaces at the ends and around signs, which LaTeX ignores; text keeps its own.

    >>> spaced("x+1")
    ' x + 1 '
    """
    return content if r"\text" in content else " " + re.sub("([-+=])", r" \1 ", content) + " "


def left_right(content: str) -> str:
    r"""`\left(` and `\right)` for plain brackets.

    >>> print(left_right("(1, 2]"))
    \left(1, 2\right]
    """
    if re.search(r"\\(left|right|text|begin|[{}])|\]\{|\\sqrt\[", content):
        return content
    return re.sub(r"[\])]", r"\\right\g<0>", re.sub(r"[(\[]", r"\\left\g<0>", content))


def slashed(content: str) -> str:
    r"""`a/b` for `\frac{a}{b}` of integers that stands as a term, so that nothing else binds to it.

    >>> print(slashed(r"x+\frac{1}{2}"), slashed(r"x\frac{1}{2}"))
    x+1/2 x\frac{1}{2}
    """
    return re.sub(r"(^|[-+=(,] ?)\\d?frac\{(\d+)\}\{(\d+)\}(?=$| ?[-+=),])", r"\1\2/\3", content)


def sentence(solution: str) -> str:
    r"""The box moved to a sentence at the end.

    >>> print(sentence(r"So $x=\boxed{2}$, as asked."))
    So $x=2$, as asked.
    The final answer is $\boxed{2}$.
    """
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
    r"""The solution and all its rewritings that differ, each with the names of those that made it.

    >>> [name for name, _ in rewritten(r"$\boxed{x+1}$")]
    ['as it is', 'sentence', 'spaces', 'sentence+spaces']
    """
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


# -- wrong: near misses, and solutions of other problems -----------------------------------------------------------


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
    r"""Digits, letters and signs without commands: `\frac43`, `\dfrac{4}{3}` and `30^\circ`, `30` are told as one.

    >>> skeleton(r"\dfrac{4}{3}"), skeleton(r"30^\circ")
    ('43', '30')
    """
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
