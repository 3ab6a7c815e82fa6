"""The control: what one writes by hand with asyncio and httpx. Asks, keeps every answer as a line, checks nothing.

    python bench/_core_script.py DATA --url http://127.0.0.1:8000/v1 --tasks 500 --draws 4 --slots 64 --out FILE

It gives up on an answer after six tries.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from pathlib import Path
from typing import IO, Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

import httpx

from bench._core_side import Options, finish, options
from bench._core_work import RUN_SEED, problems, question, task_id
from stillroom.common.hashing import draw_seed

RETRIES = 6


async def ask(client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> dict[str, Any]:
    for attempt in range(RETRIES):
        wait = random.uniform(0, 0.5 * 2**attempt)
        try:
            answer = await client.post(f"{url}/chat/completions", json=body)
            if answer.status_code == 200:
                return dict(answer.json())
            wait += float(answer.headers.get("retry-after", 0))
        except (httpx.HTTPError, json.JSONDecodeError) as error:
            print(f"again: {error!r}", file=sys.stderr)
        await asyncio.sleep(wait)
    return {}


async def run(o: Options, out: IO[str]) -> int:
    found, slots = problems(o.data), asyncio.Semaphore(o.slots)
    limits = httpx.Limits(max_connections=o.slots, max_keepalive_connections=o.slots)

    async def one(client: httpx.AsyncClient, task: int, index: int) -> bool:
        async with slots:
            seed = draw_seed(RUN_SEED, task_id(task), index)
            messages = [{"role": "user", "content": question(found, task)}]
            body = {"model": "recorded", "messages": messages, "seed": seed, "max_tokens": o.max_tokens}
            answer = await ask(client, o.url, body)
            out.write(json.dumps({"task": task, "draw": index, "answer": answer}) + "\n")
            return bool(answer)

    async with httpx.AsyncClient(limits=limits, timeout=o.timeout_s) as client:
        return sum(await asyncio.gather(*(one(client, t, i) for t in range(o.tasks) for i in range(o.draws))))


if __name__ == "__main__":
    chosen = options()
    with open(chosen.out, "w", encoding="utf-8") as file:
        answered = asyncio.run(run(chosen, file))
    finish(rows=answered)
