"""What a second opinion would add and cost on the field set: scripted verifiers of known accuracy, behind the rules.

    python bench/verifiers.py DATA

DATA is the folder of labelled pairs. The rules decide first, as in a run; what they leave open for want of
understanding goes to `judges.verifier.Verifier`, asked in the shipped `plain` format by a script that knows the label
and errs with a given probability. Two kinds of error bracket a real model: each of the two askings errs by itself, or
both err together. The control is no verifier. Figures are means over 200 seeds; tokens are estimated at four
characters each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

# Run as a script, only this file's folder is on the path. Appended: nothing that is installed is hidden by a room.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from bench._answers_sets import labelled, ours_on
from stillroom.common.records import Attempt, Messages, SamplingParams, State, Task, user
from stillroom.judges.verifier import Verifier, load_format
from stillroom.traces.answers.extract import find_answer
from stillroom.traces.scorers.answer import OPEN

SEEDS = 200
CHARACTERS_PER_TOKEN = 4
SAYS = {True: "[[same]]", False: "[[different]]"}


class Scripted:
    """An `Asks` that knows whether the answer is right. `wrong`: for each of the two askings, whether it errs."""

    identity = "scripted"
    sampling = SamplingParams(temperature=0, max_tokens=8)

    def __init__(self, right: bool, wrong: list[bool]) -> None:
        self._says = [SAYS[right is not errs] for errs in wrong]

    async def ask(
        self, messages: Messages, *, about: str, index: int = 0, sampling: SamplingParams | None = None
    ) -> Attempt:
        tokens = sum(len(message.content) for message in messages) // CHARACTERS_PER_TOKEN
        return Attempt("", 0, self._says.pop(0), None, "stop", tokens, 3, None, 0.0, "scripted")

    def room(self, messages: Messages, max_tokens: int) -> int | None:
        return None

    async def close(self) -> None: ...


class Sums(NamedTuple):
    """What came of the open answers, in one seed."""

    gained: int
    let_in: int
    lost: int
    tokens: int


async def asked(open_rows: list[tuple[str, str, bool]], accuracy: float, seed: int, *, together: bool) -> Sums:
    """One verifier on all open answers."""

    found = [0, 0, 0, 0]
    for place, (gold, answer, right) in enumerate(open_rows):
        rng = random.Random(f"{seed} {place} {accuracy}")
        first = rng.random() >= accuracy
        wrong = [first, first if together else rng.random() >= accuracy]
        task = Task(str(place), user("(the question)"), gold, "bench")
        attempt = Attempt(task.id, 0, answer, None, "stop", 0, 0, None, 0.0, "bench")
        verdict = await Verifier(Scripted(right, wrong), load_format("plain", Path())).score(task, attempt)
        found[0] += right and verdict.state is State.ACCEPTED
        found[1] += not right and verdict.state is State.ACCEPTED
        found[2] += right and verdict.state is State.REJECTED
        found[3] += json.loads(verdict.detail)["tokens"]
    return Sums(*found)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder that holds answers/field_dev.jsonl")
    rows = labelled(parser.parse_args().data, "field_dev")
    verdicts = ours_on("field_dev", rows)
    open_rows = [
        (row.gold, final, bool(row.label))
        for row, verdict in zip(rows, verdicts, strict=True)
        if verdict.reason in OPEN and "policy " not in verdict.detail and (final := find_answer(row.answer))
    ]
    right = sum(each[2] for each in open_rows)
    agreed = sum((v.state is State.ACCEPTED) is row.label for row, v in zip(rows, verdicts, strict=True))
    accepted_wrong = sum(v.state is State.ACCEPTED and not row.label for row, v in zip(rows, verdicts, strict=True))
    print(
        f"{len(rows)} labelled rows; the rules leave {len(open_rows)} to a verifier, {right} of them right. Alone: "
        f"agreement {agreed / len(rows):.3f}, {accepted_wrong} false accepts\n"
    )
    print(
        "| verifier | errors | right answers gained | wrong ones let in | right ones rejected | agreement | tokens |"
    )
    print("|---|---|---|---|---|---|---|")
    for accuracy in (0.9, 0.95, 0.99):
        for together in (False, True):
            sums = [asyncio.run(asked(open_rows, accuracy, seed, together=together)) for seed in range(SEEDS)]
            gained, let_in, lost, tokens = (fmean(column) for column in zip(*sums, strict=True))
            share = (agreed + gained - let_in) / len(rows)
            kind = "both askings together" if together else "each asking by itself"
            print(
                f"| {accuracy:.0%} | {kind} | {gained:.1f} of {right} | {let_in:.2f} of {len(open_rows) - right} "
                f"| {lost:.2f} | {share:.3f} | {tokens:,.0f} |"
            )


if __name__ == "__main__":
    main()
