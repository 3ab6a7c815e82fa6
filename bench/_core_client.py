"""Our side of the core's benches: the core with the OpenAI teacher, the answer checker and a ledger on disk.

    python bench/_core_client.py DATA --url http://127.0.0.1:8000/v1 --tasks 500 --draws 4 --slots 64 --out FOLDER

Writes the outcomes to `outcomes.jsonl` in the folder, in the order of the tasks. With `--watch` it appends to
`watched.txt` what the core asked the teacher for and what it got, each as it happens and with the system's own write:
a record of its own, that of a killed run too.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from bench._core_side import Options, finish, options
from bench._core_work import RUN_SEED, problems, tasks
from stillroom.common.records import Completion, Outcome, Request, SamplingParams, Usage
from stillroom.sampling.core import Core
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.policy import Fixed, Until
from stillroom.sampling.teachers.openai import OpenAISettings
from stillroom.sampling.teachers.openai.teacher import OpenAITeacher
from stillroom.traces.scorers.answer import AnswerScorer


class Watched:
    """A teacher whose requests are written down: `ask` when the core asks, `got` once the core has the answer.

    `got` is written a turn of the loop later: until then the answer is on its way to the ledger.
    """

    def __init__(self, teacher: OpenAITeacher, path: Path) -> None:
        self._teacher = teacher
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._teacher, name)

    @property
    def identity(self) -> str:
        return self._teacher.identity

    @property
    def concurrency(self) -> int:
        return self._teacher.concurrency

    async def sample(self, request: Request, usage: Usage) -> Completion:
        self._note("ask", request)
        try:
            completion = await self._teacher.sample(request, usage)
        except BaseException:
            self._note("gone", request)
            raise
        asyncio.get_running_loop().call_soon(self._note, "got", request)
        return completion

    async def close(self) -> None:
        await self._teacher.close()

    def _note(self, what: str, request: Request) -> None:
        os.write(self._file, f"{what} {request.task_id} {request.index}\n".encode())


def policy(o: Options) -> Fixed | Until:
    """All draws of each task, or draws until half of them are accepted."""
    if o.policy == "fixed":
        return Fixed(policy="fixed", attempts=o.draws)
    return Until(per_task=max(1, o.draws // 2), max_attempts=o.draws)


def row(outcome: Outcome) -> dict[str, Any]:
    """All of an outcome that timing must not change."""
    draws = [[s.attempt.index, s.attempt.text, s.verdict.state, s.verdict.reason] for s in outcome.attempts]
    return {"task": outcome.task.id, "draws": draws, "kept": outcome.kept, "stop": outcome.stop}


async def run(o: Options) -> dict[str, Any]:
    """The run; says what it counted."""
    plain = OpenAITeacher(
        OpenAISettings(kind="openai", model="recorded", base_url=o.url, concurrency=o.slots, timeout_s=o.timeout_s)
    )
    teacher = Watched(plain, o.out / "watched.txt") if o.watch else plain
    scorer, lines = AnswerScorer(), dict[str, str]()
    sampling = SamplingParams(max_tokens=o.max_tokens)
    with Ledger.open(o.out) as ledger:
        core = Core(teacher, scorer, policy(o), ledger, sampling=sampling, seed=RUN_SEED)
        await core.run(
            tasks(problems(o.data), o.tasks), lambda out: lines.update({out.task.id: json.dumps(row(out))})
        )
        totals = ledger.totals()
    workers = len(scorer.checker.pids())
    await teacher.close()
    await scorer.close()
    ordered = sorted(lines.items(), key=lambda item: int(item[0].rpartition("-")[2]))
    (o.out / "outcomes.jsonl").write_text("".join(f"{line}\n" for _, line in ordered), encoding="utf-8")
    return {"counts": core.counts.as_dict(), "totals": totals._asdict(), "workers": workers, "tasks": len(lines)}


def profiled(o: Options) -> dict[str, Any]:
    """The same under cProfile."""
    import cProfile
    import pstats

    profile = cProfile.Profile()
    said: dict[str, Any] = profile.runcall(lambda: asyncio.run(run(o)))
    for order in ("tottime", "cumtime"):
        pstats.Stats(profile, stream=sys.stderr).sort_stats(order).print_stats(45)
    return said


if __name__ == "__main__":
    chosen = options()
    chosen.out.mkdir(parents=True, exist_ok=True)
    finish(**(profiled(chosen) if chosen.profile else asyncio.run(run(chosen))))
