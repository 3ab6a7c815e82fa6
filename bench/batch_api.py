"""A batch API that expires, fails, doubles and shuffles lines, and a run that is killed with SIGKILL ten times.

    python bench/batch_api.py --requests 2000 --kills 10

Sums are asked in batches of 100 at a fake server on loopback: 5 % of the lines expire, 3 % fail, 2 % come twice,
all are shuffled. Each call but the last kills itself around a step: before or after a file is written, an upload, a
creation, a note on disk, a look, a fetch, the reading of results, or an answer's way into the ledger; which time that
the step is taken is drawn at random. Then the ledger and the server's own count of answers are compared: `lost` are
sums without an answer in the ledger, `paid twice` answers that the server gave twice under one `custom_id`. The same
run without a kill is its control.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from stillroom.common.records import Attempt, SamplingParams, State, Task, Verdict, user
from stillroom.sampling.core import Core
from stillroom.sampling.fake_server.batches import BatchFaults
from stillroom.sampling.fake_server.server import FakeServer
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.policy import Until
from stillroom.sampling.teachers.openai import OpenAISettings
from stillroom.sampling.teachers.openai.batch.files import Batch, BatchFiles
from stillroom.sampling.teachers.openai.batch.remote import Remote

FAULTS = BatchFaults(expired=0.05, failed=0.03, twice=0.02, shuffled=True, looks=8)
OWNERS: dict[str, Any] = {
    "write": BatchFiles, "upload": Remote, "create": Remote, "note": Batch, "look": Remote, "fetch": Remote,
    "finish": BatchFiles, "add_attempt": Ledger,
}  # fmt: skip
# In the order in which a run comes to them, or it would be done before it is killed; the last number is how late.
KILLS = (
    ("write", 20), ("upload", 15), ("create", 6), ("note", 4), ("create", 1), ("look", 8), ("fetch", 4),
    ("finish", 2), ("add_attempt", 60), ("finish", 2),
)  # fmt: skip


class Right:
    """Accepts a sum that is worked out right."""

    identity = "right"

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        good = attempt.text.rpartition("#### ")[2] == task.reference
        return Verdict(State.ACCEPTED if good else State.REJECTED, "right" if good else "wrong")

    async def close(self) -> None: ...


def kill_at(step: str, call: int, after: bool) -> None:
    """Has this process kill itself around the `call`-th time that a step is taken."""
    owner, taken = OWNERS[step], 0
    original = getattr(owner, step)

    def die() -> None:
        print(json.dumps({"killed": True}), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    def due() -> bool:
        nonlocal taken
        taken += 1
        return taken == call

    async def slow(*given: Any, **more: Any) -> Any:
        now = due()
        if now and not after:
            die()
        found = await original(*given, **more)
        if now:
            die()
        return found

    def quick(*given: Any, **more: Any) -> Any:
        now = due()
        if now and not after:
            die()
        found = original(*given, **more)
        if now:
            die()
        return found

    setattr(owner, step, slow if owner is Remote else quick)


async def client(url: str, folder: Path, requests: int) -> None:
    """One call of the run."""
    batch = {"requests": 100, "poll_s": 0.1, "gather_s": 0.1}
    given = {"kind": "openai", "model": "fake", "base_url": url, "batch": batch, "retry": {"base_s": 0.01}}
    teacher = OpenAISettings.model_validate(given).make(folder)
    with Ledger.open(folder) as ledger:
        core = Core(
            teacher, Right(), Until(per_task=1, max_attempts=2), ledger,
            sampling=SamplingParams(max_tokens=100), seed=0, ahead=False,
        )  # fmt: skip
        tasks = (Task(str(i), user(f"What is {i} + 40?"), str(i + 40), "bench") for i in range(requests))
        try:
            await core.run(tasks, lambda outcome: None)
        finally:
            await teacher.close()
    counts = core.counts
    told = {"waves": counts.waves, "reused": counts.reused, "twice": counts.lines_twice, "failed": counts.failed}
    print(json.dumps({"killed": False, **told}), flush=True)


async def call(url: str, folder: Path, requests: int, kill: list[str]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--client", url, str(folder), "--requests", str(requests), "--kill", *kill]
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await child.communicate()
    said: dict[str, Any] = json.loads(out.splitlines()[-1])
    return said


async def run(requests: int, kills: int, seed: int) -> dict[str, Any]:
    """The run, killed and called again until it ends by itself; what came of it."""
    draw, server, killed = random.Random(seed), FakeServer(batches=FAULTS), list[str]()
    await server.start()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for step, most in KILLS[:kills]:
            kill = [step, str(draw.randint(1, most)), draw.choice(["before", "after"])]
            said = await call(server.url, folder, requests, kill)
            if not said["killed"]:
                raise SystemExit(f"the run was done before it was killed at {kill}: ask for more requests")
            killed.append("/".join(kill))
        said = await call(server.url, folder, requests, [])
        with Ledger.read(folder) as ledger:
            rows = list(ledger.rows())
    await server.close()
    good = {row["task_id"] for row in rows if row["text"].endswith(f"#### {int(row['task_id']) + 40}")}
    return {
        "requests": requests,
        "kills": killed,
        "answered": len(good),
        "lost": requests - len(good),
        "attempts": len(rows),
        "paid twice": sum(times - 1 for times in server.batches.paid.values()),
        "batches created": server.batches.created,
        "uploads": server.batches.uploads,
        "lines sent": sum(server.batches._asked.values()),
        "last call": said,
        "seconds": round(time.monotonic() - started, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=len(KILLS))
    parser.add_argument("--seed", type=int, default=18)
    parser.add_argument("--client", nargs=2, metavar=("URL", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--kill", nargs="*", default=[], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client:
        if given.kill:
            step, times, when = given.kill
            kill_at(step, int(times), when == "after")
        asyncio.run(client(given.client[0], Path(given.client[1]), given.requests))
        return
    for kills in (0, given.kills):
        print(json.dumps(asyncio.run(run(given.requests, kills, given.seed)), indent=1), flush=True)


if __name__ == "__main__":
    main()
