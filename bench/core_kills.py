"""Runs killed with SIGKILL at random moments and resumed; what is paid for again, and what is lost.

    python bench/core_kills.py DATA [--runs 50] [--quick] [--json FILE]

Of each run: what had been asked and received when it was killed (the client's own record, apart from the ledger),
what the server was asked a second time, and whether the rows of the resumed run are those of a run that nobody
killed (the control). Paid again must not be more than was in flight; what was received must be in the ledger. Half
of the runs draw a fixed number, half until enough are accepted. Then, of a finished run: the same again, ten tasks
more, other limits of tokens; each with the number of requests that it paid for, and why.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[1]))

from bench._core_server import ENOUGH_TOKENS
from bench._core_side import Ended, Server, facts, run, server
from bench._core_work import task_id
from stillroom.sampling.ledger import Ledger

TASKS, DRAWS, SLOTS = 100, 4, 32
MORE_TASKS = 10
LATENCIES: dict[str, object] = {"median": 0.1, "sigma": 0.8}
SERVER = LATENCIES | {"tasks": TASKS + MORE_TASKS, "draws": DRAWS, "truncate": 0.03}
MAX_TOKENS = 512
LESS_TOKENS = 60
SEED = 11
Key = tuple[str, int]


class Killed(NamedTuple):
    """One killed and resumed run. Numbers of draws, but `after_s`, seconds from the start of the process."""

    policy: str
    after_s: float
    received: int
    in_flight: int
    paid_again: int
    lost: int
    beyond: int
    same_rows: bool


class Watched(NamedTuple):
    """What the client itself noted: what it asked for and what it got."""

    in_flight: int
    received: frozenset[Key]


def client(data: Path, at: Server, folder: Path, *more: object, kill_after_s: float | None = None) -> Ended:
    """Our client on the small load."""
    wanted = ("--url", at.url, "--draws", DRAWS, "--slots", SLOTS, "--out", folder, "--watch")
    return run("_core_client.py", (data, *wanted, *more), kill_after_s)


def rows(folder: Path) -> str:
    """The outcomes that a finished run wrote."""
    return (folder / "outcomes.jsonl").read_text(encoding="utf-8")


def watched(folder: Path) -> Watched:
    """Reads the client's record of a killed run."""
    path = folder / "watched.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    noted: Counter[str] = Counter()
    received: set[Key] = set()
    for line in lines:
        what, task, index = line.split(" ")
        noted[what] += 1
        if what == "got":
            received.add((task, int(index)))
    return Watched(noted["ask"] - noted["got"] - noted["gone"], frozenset(received))


def kept(folder: Path) -> set[Key]:
    """The draws of which the ledger holds an attempt."""
    if not (folder / "ledger.sqlite").is_file():
        return set()
    with Ledger.open(folder) as ledger:
        return {(row["task_id"], row["draw"]) for row in ledger.rows()}


def asked(at: Server) -> Counter[Key]:
    """What the server was asked for since its log was reset."""
    return Counter({(task_id(task), draw): times for task, draw, times in at.log()["asked"]})


def killed_run(data: Path, at: Server, folder: Path, policy: str, moment_s: float, whole: str) -> Killed:
    """Kills a run, resumes it, and compares."""
    options = ("--tasks", TASKS, "--policy", policy)
    at.reset()
    client(data, at, folder, *options, kill_after_s=moment_s)
    before, noted, had = asked(at), watched(folder), kept(folder)
    at.reset()
    client(data, at, folder, *options)
    again = sum(times for key, times in asked(at).items() if key in before)
    lost = len(noted.received - had)
    same = rows(folder) == whole
    beyond = max(0, again - noted.in_flight)
    return Killed(policy, moment_s, len(noted.received), noted.in_flight, again, lost, beyond, same)


def kills(data: Path, runs: int) -> list[Killed]:
    """`runs` killed runs, at moments spread over what an unkilled run takes after its start-up."""
    found, dice = [], random.Random(SEED)
    with tempfile.TemporaryDirectory() as name, server(data, **SERVER) as at:
        control = {}
        for policy in ("fixed", "until"):
            end = client(data, at, Path(name) / policy, "--tasks", TASKS, "--policy", policy)
            begun = end.wall_s - at.log()["span_s"]
            control[policy] = (begun, end.wall_s, rows(Path(name) / policy))
            print(f"unkilled, {policy}: {end.wall_s:.2f} s, of which {begun:.2f} s start-up and end", flush=True)
            at.reset()
        for number in range(runs):
            policy = ("fixed", "until")[number % 2]
            begun, end_s, whole = control[policy]
            moment = dice.uniform(0.9 * begun, end_s)
            found.append(killed_run(data, at, Path(name) / f"run{number}", policy, moment, whole))
            print(f"{number:3} {found[-1]}", flush=True)
    return found


def summary(found: list[Killed]) -> None:
    """The figures of the killed runs."""
    midway = [each for each in found if each.received]
    print(f"\n{len(found)} runs killed, {len(midway)} of them after the first answer; at most {SLOTS} in flight")
    lost = sum(k.lost for k in found)
    print(f"received when killed: {sum(k.received for k in found):,}, of which not in the ledger: {lost}")
    print(f"in flight when killed: {sum(k.in_flight for k in found)}; paid again: {sum(k.paid_again for k in found)}")
    print(f"runs that paid again for more than was in flight: {sum(k.beyond > 0 for k in found)}")
    print(f"runs whose rows differ from the unkilled run's: {sum(not k.same_rows for k in found)}")


def again(data: Path) -> list[dict[str, Any]]:
    """What a finished run pays for when it is started again, as it was and changed."""
    found = []
    with tempfile.TemporaryDirectory() as name, server(data, **SERVER) as at:
        folder = Path(name) / "run"
        client(data, at, folder, "--tasks", TASKS, "--policy", "until")
        first = asked(at)
        steps: list[tuple[str, tuple[object, ...]]] = [
            ("the same again", ("--tasks", TASKS)),
            (f"{MORE_TASKS} more tasks", ("--tasks", TASKS + MORE_TASKS)),
            (f"max_tokens {ENOUGH_TOKENS}", ("--tasks", TASKS + MORE_TASKS, "--max-tokens", ENOUGH_TOKENS)),
            (f"max_tokens {LESS_TOKENS}", ("--tasks", TASKS + MORE_TASKS, "--max-tokens", LESS_TOKENS)),
        ]
        print(f"\na finished run of {TASKS} tasks had asked {first.total()} times; started again:")
        for title, more in steps:
            found.append(step(data, at, folder, title, *more))
    return found


def step(data: Path, at: Server, folder: Path, title: str, *more: object) -> dict[str, Any]:
    """Starts the run again; prints what it paid for, apart for new tasks, changed attempts and the rest."""
    before = standing(folder)
    limit = int(str(more[more.index("--max-tokens") + 1])) if "--max-tokens" in more else MAX_TOKENS
    at.reset()
    client(data, at, folder, *more, "--policy", "until")
    paid = asked(at)
    tasks = {task for task, _ in before}
    kinds = {"new task": 0, "does not apply": 0, "next draw": 0, "paid twice": 0}
    for key, times in paid.items():
        kind = _kind(key, before, tasks, limit)
        kinds[kind] += times
    print(f"  {title}: paid for {paid.total()}: {kinds}", flush=True)
    return {"title": title, "paid": paid.total(), **kinds}


def _kind(key: Key, before: dict[Key, list[tuple[str, int, int]]], tasks: set[str], limit: int) -> str:
    if key[0] not in tasks:
        return "new task"
    if key not in before:
        return "next draw"
    usable = any(at == limit or (ended != "length" and used <= limit) for ended, used, at in before[key])
    return "paid twice" if usable else "does not apply"


def standing(folder: Path) -> dict[Key, list[tuple[str, int, int]]]:
    """Of each attempt on record: how it ended, its tokens, the limit it was drawn under."""
    found: dict[Key, list[tuple[str, int, int]]] = {}
    with Ledger.open(folder) as ledger:
        for row in ledger.rows():
            entry = (row["finish_reason"], row["completion_tokens"], row["max_tokens"])
            found.setdefault((row["task_id"], row["draw"]), []).append(entry)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder that holds gsm8k/")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--quick", action="store_true", help="six runs")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    o = parser.parse_args()
    print(facts("openai"))
    started = time.perf_counter()
    found = kills(o.data, 6 if o.quick else o.runs)
    summary(found)
    steps = again(o.data)
    print(f"took {time.perf_counter() - started:.0f} s")
    if o.json:
        o.json.write_text(json.dumps({"kills": [k._asdict() for k in found], "again": steps}, indent=1))


if __name__ == "__main__":
    main()
