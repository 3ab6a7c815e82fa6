"""The core against a real HTTP server on loopback, and a 40-line asyncio and httpx script against the same server.

    python bench/core_http.py DATA [--quick] [--only pace|wide|faults|limit] [--profile] [--json FILE]

`pace`: 500 tasks x 4 draws, 64 slots, latencies lognormal (median 0.5 s, sigma 0.8): wall with start-up over the
ideal makespan by list scheduling, processor seconds and peak memory of the client. `wide`: 5,000 tasks x 1, 256
slots, sigma 1: the share of the wall that the slots were busy. Its last long answers leave slots idle whoever asks,
so the share that the ideal reaches stands beside it, and `fed`: the slots' share as the server saw it, from the
first request to the last. `faults`: as `pace`, with 5 % 429, 2 % 500, 1 % dropped, 0.5 % stalled for a minute, 3 %
cut off. `limit`: what the server itself can do. Ours checks the answers and keeps them in a ledger; the script
writes them to a file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from bench._core_side import Ended, Server, facts, run, server
from bench._core_work import RUN_SEED, Load, latencies_s, makespan, task_id
from stillroom.common.hashing import draw_seed
from stillroom.sampling.ledger import Ledger

ASKED = {
    "pace": "wall/ideal <= 1.04, cpu <= 4 s, rss <= 65 MB",
    "wide": "slots busy >= 0.95, of what the ideal reaches",
}
FAULTS_ASKED = 1.8
"""Wall with faults over the script's without: what the script took when this was asked for."""
PACE = Load(tasks=500, draws=4, slots=64, median_s=0.5, sigma=0.8)
WIDE = Load(tasks=5000, draws=1, slots=256, median_s=0.5, sigma=1.0)
TIMEOUT_S = 15.0
"""Of both clients where the server stalls: above every latency, far below the stall."""
SIDES = {"script": "_core_script.py", "ours": "_core_client.py"}


def shorter(load: Load) -> Load:
    """For a quick look: a fifth of the tasks."""
    return load._replace(tasks=load.tasks // 5)


def side(name: str, data: Path, at: Server, load: Load, folder: Path, *more: object) -> Ended:
    """One client's run."""
    out = folder / name if name == "ours" else folder / "answers.jsonl"
    at.reset()
    wanted = ("--url", at.url, "--tasks", load.tasks, "--draws", load.draws, "--slots", load.slots, "--out", out)
    return run(SIDES[name], (data, *wanted, *more))


def settings(load: Load) -> dict[str, object]:
    """The server's options for a load."""
    return {"tasks": load.tasks, "draws": load.draws, "median": load.median_s, "sigma": load.sigma}


def pace(data: Path, load: Load, *more: object) -> dict[str, Any]:
    """Wall over ideal, processor and memory, for both; the slots' share."""
    waits = latencies_s(load)
    ideal, busy = makespan(waits, load.slots), sum(waits)
    share, longest = busy / ideal / load.slots, max(waits)
    print(f"\n{load.tasks} tasks x {load.draws}, {load.slots} slots, median {load.median_s} s, sigma {load.sigma}")
    print(f"ideal {ideal:.2f} s; in it the slots are busy {share:.3f}; the longest answer takes {longest:.1f} s")
    heads = ("wall s", "/ideal", "cpu s", "rss MB", "busy", "of ideal", "fed", "peak", "answers")
    print(f"{'':8}{''.join(f'{head:>9}' for head in heads)}")
    found: dict[str, Any] = {"ideal_s": ideal, "ideal_busy": share}
    with tempfile.TemporaryDirectory() as folder, server(data, **settings(load)) as at:
        for name in SIDES:
            end = side(name, data, at, load, Path(folder), *(more if name == "ours" else ()))
            found[name] = paced(name, end, load, ideal, at.log())
    print(f"asked of ours: {ASKED['pace' if load.draws > 1 else 'wide']}")
    return found


def paced(name: str, end: Ended, load: Load, ideal: float, log: dict[str, Any]) -> dict[str, Any]:
    """One side's line of the table, and its figures."""
    answers = end.said["rows"] if name == "script" else end.said["totals"]["attempts"]
    line = {
        "wall_s": end.wall_s,
        "ratio": end.wall_s / ideal,
        "cpu_s": end.cpu_s,
        "rss_mb": end.rss_mb,
        "busy": log["busy_s"] / end.wall_s / load.slots,
        "busy_of_ideal": log["busy_s"] / sum(latencies_s(load)) * ideal / end.wall_s,
        "fed": log["fed"] / load.slots,
        "peak": log["peak"],
        "answers": answers,
    }
    widths = ("9.2f", "9.3f", "9.2f", "9.0f", "9.3f", "9.3f", "9.3f", "9", "9")
    cells = (format(value, width) for value, width in zip(line.values(), widths, strict=True))
    print(f"{name:8}{''.join(cells)}", flush=True)
    return line | {"said": end.said}


def faults(data: Path, load: Load) -> dict[str, Any]:
    """Both without faults (the script) and with them; what became of every task."""
    print(f"\nfaults: {load.tasks} tasks x {load.draws}, {load.slots} slots, time-out {TIMEOUT_S:g} s")
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        with server(data, **settings(load)) as at:
            whole = side("script", data, at, load, Path(folder)).wall_s
        print(f"script without faults: {whole:.2f} s")
        with server(data, **settings(load), faults=True, truncate=0.03) as at:
            for name in SIDES:
                end = side(name, data, at, load, Path(folder), "--timeout-s", TIMEOUT_S)
                found[name] = {"wall_s": end.wall_s, "ratio": end.wall_s / whole, "said": end.said}
                print(f"{name:8}{end.wall_s:8.2f} s, {end.wall_s / whole:.2f} x; met {at.log()['faults']}")
                if name == "ours":
                    found["missing"] = accounted(Path(folder) / name, load, at.log(), end)
                else:
                    print(f"        answers in the file: {end.said['rows']}")
    print(f"asked of ours: not above {FAULTS_ASKED} x, no task missing, every draw accounted for")
    return found


def accounted(folder: Path, load: Load, log: dict[str, Any], end: Ended) -> list[str]:
    """Prints what became of every draw; names those of which nothing is on record."""
    with Ledger.read(folder) as ledger:
        kept = {(row["task_id"], row["draw"]) for row in ledger.rows()}
    outcomes = (folder / "outcomes.jsonl").read_text(encoding="utf-8").splitlines()
    answered = {(task_id(task), draw) for task, draw, _ in log["answered"]}
    planned = {(task_id(t), i) for t in range(load.tasks) for i in range(load.draws)}
    missing = sorted(f"{task} draw {draw}" for task, draw in planned - kept)
    counts = end.said["counts"]
    print(f"        outcomes {len(outcomes)} of {load.tasks}; attempts {len(kept)}, failed {counts['failed']}")
    print(f"        planned draws without an attempt: {len(missing)} {missing[:5]}")
    print(
        f"        answered in full by the server, not in the ledger: {len(answered - kept)} (given up by the client)"
    )
    print(f"        accepted {counts['accepted']}, rejected {counts['rejected']}, unscored {counts['unscored']}")
    return missing


def limit(data: Path, requests: int, slots: int) -> float:
    """Requests per second that the server answers to bare sockets when it need not wait."""
    load = Load(tasks=requests, draws=1, slots=slots, median_s=1e-6, sigma=0.0)
    with server(data, **settings(load)) as at:
        seconds = asyncio.run(_bare(int(at.url.split(":")[2].split("/")[0]), requests, slots))
        cpu = at.log()["cpu_s"]
    print(
        f"\nthe server alone: {requests / seconds:,.0f} requests/s with {slots} bare sockets ({cpu:.1f} s of its own)"
    )
    return requests / seconds


async def _bare(port: int, requests: int, slots: int) -> float:
    numbers = iter(range(requests))

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            body = json.dumps({"seed": draw_seed(RUN_SEED, task_id(number), 0), "max_tokens": 512}).encode()
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.rpartition(b": ")[2]))
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(slots)))
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder that holds gsm8k/")
    parser.add_argument("--quick", action="store_true", help="a fifth of the tasks")
    parser.add_argument("--only", choices=["pace", "wide", "faults", "limit"])
    parser.add_argument("--profile", action="store_true", help="ours under cProfile: its speed is not comparable")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    o = parser.parse_args()
    pace_of, wide = (shorter(PACE), shorter(WIDE)) if o.quick else (PACE, WIDE)
    more = ("--profile",) if o.profile else ()
    parts: dict[str, Callable[[], Any]] = {
        "pace": lambda: pace(o.data, pace_of, *more),
        "wide": lambda: pace(o.data, wide, *more),
        "faults": lambda: faults(o.data, pace_of),
        "limit": lambda: limit(o.data, wide.tasks, WIDE.slots),
    }
    print(facts("openai", "httpx"))
    found = {name: part() for name, part in parts.items() if o.only in (None, name)}
    if o.json:
        o.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
