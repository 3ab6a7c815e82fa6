"""Whole recipes, killed at random moments by KILL, TERM, INT or HUP, and started again: what is lost, what differs.

    python bench/run_kills.py [--runs 50] [--seed 3] [--quick] [--json FILE]

Four recipes against a scripted server on loopback: traces alone, preferences with a judge, traces with a student that
is trained and measured, and a loop of two rounds. The student is a random model of two layers, so that it is the
stages and not the model that take the time. Of each kill: how it ended, what the server was asked a second time (no
more than what was in flight), which answers are not in the ledger (no more than were on their way), whether rows and
weights are those of a run that nobody killed, byte for byte, and whether a process was left behind.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[1]))

from bench._core_side import facts
from stillroom.sampling.teachers.vllm.watchdog import running
from stillroom.sampling.workers.child import descendants

SLOTS = 4
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# What is killed, in turn; students and loops take several times as long as the others.
MIX = (
    *("traces", "preferences", "student", "traces", "preferences", "loop", "traces", "preferences"),
    *("student", "traces", "preferences", "traces", "traces", "preferences", "traces", "preferences"),
)
LATENCY_S = 0.08
LIMIT_S = 300.0
CUT = 0.8
"""Of what an unkilled run took: a kill after its end kills nothing."""
GONE_S = 15.0
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class Killed(NamedTuple):
    """One killed and resumed run. `after_s`: from its first request. `again`: requests that the server answered
    before and was asked once more; `lost`: answers that it gave and that are not on record; both may be what was in
    flight. `orphans`: processes that were left."""

    recipe: str
    by: str
    after_s: float
    code: int
    answered: int
    again: int
    lost: int
    same: bool
    orphans: int

    @property
    def well(self) -> bool:
        """Whether nothing is lost, nothing differs and nothing is left."""
        return self.same and not self.orphans and max(self.again, self.lost) <= SLOTS


class Server:
    """Answers sums and judges texts, by what is asked alone; notes what it was asked and what it answered."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self.first = threading.Event()
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address, for `base_url`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def reset(self) -> None:
        """Forgets what it was asked."""
        with self._lock:
            self.answered.clear()
            self.first.clear()

    def note(self, body: bytes) -> None:
        """An answer is on its way."""
        with self._lock:
            self.answered[hashlib.sha256(body).hexdigest()] += 1


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send({"object": "list", "data": [{"id": "m", "object": "model"}]})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            server.first.set()
            time.sleep(LATENCY_S * (0.5 + random.Random(body).random()))
            server.note(body)
            self._send(completion(json.loads(body)))

        def _send(self, said: dict[str, Any]) -> None:
            data = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:  # the client was killed
                self.close_connection = True

    return Handler


def completion(body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request: right for three seeds in five, a judge's rating for what is not a sum."""
    asked, seed = body["messages"][-1]["content"], int(body.get("seed", 0))
    if asked.startswith("What is "):
        a, b = (int(part) for part in asked.removeprefix("What is ").removesuffix("?").split(" + "))
        said = a + b + (0 if seed % 5 < 3 else 1 + seed % 3)
        text = f"First {a}, then {b} to it, thought {seed % 1000}: {said}.\n#### {said}"
    else:
        text = f"[[helpfulness: {1 + int(hashlib.sha256(asked.encode()).hexdigest(), 16) % 5}]]"
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage(asked, text)}


def usage(asked: str, text: str) -> dict[str, int]:
    """Words for tokens."""
    prompt, said = len(asked.split()), len(text.split())
    return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}


def write_recipes(folder: Path, url: str) -> dict[str, Path]:
    """The four recipes, by name."""
    rows = [{"question": f"What is {3 * i + 2} + {7 * i + 1}?", "answer": str(10 * i + 3)} for i in range(60)]
    (folder / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    model = make_model(folder / "tiny")
    teacher = {"kind": "openai", "model": "m", "base_url": url, "concurrency": SLOTS}
    tasks = {"source": "jsonl", "path": "tasks.jsonl", "limit": 24}
    keep, filters = {"per_task": 2, "max_attempts": 4}, ["finished", "one_final_answer", "dedup"]
    traces = {"tasks": tasks, "teacher": teacher, "scorer": {"workers": 1}, "keep": keep, "filters": filters}
    student = {"model": str(model), "method": "sft", "epochs": 1, "learning_rate": 1e-3, "batch_size": 8}
    evaluate = {"baselines": ["student_before"], "max_tokens": 4, "plots": False}
    held_out = {**tasks, "limit": 12, "test": 4}
    small = {**traces, "tasks": held_out, "student": student, "evaluate": evaluate}
    overrides = {"round": {"2": {"teacher": teacher}}}
    loop = {"rounds": 2, "guard": None, "control_one_round": False, "overrides": overrides}
    candidates = [
        {"name": name, "draws": 2, "teacher": {**teacher, "sampling": {"temperature": temperature}}}
        for name, temperature in (("cool", 0.5), ("warm", 1.0))
    ]
    judge = {"kind": "llm", "rubric": "helpfulness", "logprobs": False, "teacher": {**teacher, "model": "judge"}}
    preferences = {"tasks": {**tasks, "limit": 12}, "candidates": candidates, "judge": judge, "audit": {}}
    recipes: dict[str, dict[str, Any]] = {
        "traces": traces,
        "preferences": {**preferences, "pairs": {"strategy": "best_worst"}},
        "student": small,
        "loop": {**small, "loop": loop},
    }
    for name, recipe in recipes.items():
        (folder / f"{name}.yaml").write_text(json.dumps({"name": name, **recipe}), encoding="utf-8")
    return {name: folder / f"{name}.yaml" for name in recipes}


def make_model(folder: Path) -> Path:
    """A random model of two layers that reads bytes."""
    import tokenizers
    import torch
    from tokenizers import decoders, models, pre_tokenizers

    from stillroom.common.models.quiet import quiet_transformers

    special = ["<|im_end|>", "<|im_start|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = tokenizers.Tokenizer(models.BPE(vocab={t: i for i, t in enumerate([*special, *letters])}, merges=[]))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    raw.add_special_tokens(special)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    with quiet_transformers() as transformers:
        ends = {"eos_token": special[0], "pad_token": special[0]}
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, chat_template=CHATML, **ends)
        torch.manual_seed(0)
        config = transformers.LlamaConfig(
            vocab_size=len(tokenizer), max_position_embeddings=512, bos_token_id=None, eos_token_id=0, **sizes
        )
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def started(recipe: Path, out: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command, with its word in `<out>.log`."""
    command = [sys.executable, "-m", "stillroom", "run", str(recipe), "--out", str(out), "--quiet"]
    with Path(f"{out}.log").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            process.kill()


def to_the_end(recipe: Path, out: Path) -> None:
    """Runs the command to its end. Raises RuntimeError where it fails."""
    with started(recipe, out) as process:
        if process.wait(LIMIT_S):
            raise RuntimeError(Path(f"{out}.log").read_text(encoding="utf-8")[-2000:])


def made(out: Path) -> dict[str, str]:
    """Hashes of all rows and weights of a finished run."""
    files = [file for pattern in ("**/*.parquet", "**/*.safetensors") for file in sorted(out.glob(pattern))]
    return {f.relative_to(out).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def on_record(out: Path) -> int:
    """Attempts in all ledgers below the folder, of the server's models."""
    count = 0
    for path in out.rglob("ledger.sqlite"):
        with closing(sqlite3.connect(path)) as db:
            count += db.execute("SELECT COUNT(*) FROM attempts WHERE teacher LIKE 'openai:%'").fetchone()[0]
    return count


def left(pids: list[int]) -> int:
    """Processes that still run when they have had time to end."""
    deadline = time.monotonic() + GONE_S
    while any(map(running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return sum(map(running, pids))


def killed(
    server: Server, recipe: Path, out: Path, by: signal.Signals, after_s: float, whole: dict[str, str]
) -> Killed:
    """Kills a run, looks at what is there, and runs it to its end."""
    server.reset()
    with started(recipe, out) as process:
        server.first.wait(LIMIT_S)
        with suppress(subprocess.TimeoutExpired):  # as planned: it is in the middle
            process.wait(after_s)
        children = list(descendants(process.pid))
        process.send_signal(by)
        code = process.wait(LIMIT_S)
    orphans, before = left(children), server.answered.copy()
    lost = max(0, before.total() - on_record(out))
    to_the_end(recipe, out)
    again = sum(server.answered[key] - times for key, times in before.items())
    same = made(out) == whole
    return Killed(recipe.stem, by.name, round(after_s, 2), code, before.total(), again, lost, same, orphans)


def kills(runs: int, seed: int) -> list[Killed]:
    """`runs` kills, over all recipes and signals, at moments spread over an unkilled run from its first request."""
    dice, found = random.Random(seed), list[Killed]()
    with tempfile.TemporaryDirectory() as name:
        folder, server = Path(name), Server()
        spans, wholes = dict[str, float](), dict[str, dict[str, str]]()
        for kind, recipe in write_recipes(folder, server.url).items():
            server.reset()
            with started(recipe, out := folder / f"whole_{kind}") as process:
                server.first.wait(LIMIT_S)
                began = time.monotonic()
                if process.wait(LIMIT_S):
                    raise RuntimeError(Path(f"{out}.log").read_text(encoding="utf-8")[-2000:])
            spans[kind], wholes[kind] = time.monotonic() - began, made(out)
            print(
                f"unkilled {kind}: {spans[kind]:.1f} s after its first request, {len(wholes[kind])} files", flush=True
            )
        for number in range(runs):
            kind, by = MIX[number % len(MIX)], SIGNALS[(number + number // len(MIX)) % len(SIGNALS)]
            moment, out = dice.uniform(0, CUT * spans[kind]), folder / f"run{number}"
            found.append(killed(server, folder / f"{kind}.yaml", out, by, moment, wholes[kind]))
            print(f"{number:3} {found[-1]}", flush=True)
            shutil.rmtree(out)
    return found


def summary(found: list[Killed]) -> None:
    """A line for each recipe, and for each signal."""
    print(f"\n{sum(each.code != 0 for each in found)} of {len(found)} were still running when they were killed")
    print(f"{'':12} kills  answered  again  lost  differ  orphans  more than in flight")
    names = [*dict.fromkeys(each.recipe for each in found), *dict.fromkeys(each.by for each in found), ""]
    for name in names:
        of = [each for each in found if name in (each.recipe, each.by, "")]
        beyond = sum(max(each.again, each.lost) > SLOTS for each in of)
        figures = (len(of), *(sum(getattr(each, field) for each in of) for field in ("answered", "again", "lost")))
        ends = (sum(not each.same for each in of), sum(each.orphans for each in of), beyond)
        print(f"{name or 'all':12} {figures[0]:5} {figures[1]:9} {figures[2]:6} {figures[3]:5}", end="")
        print(f" {ends[0]:7} {ends[1]:8} {ends[2]:20}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="six kills")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    o = parser.parse_args()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored, here and in what is started from here
    print(facts("openai"))
    began = time.perf_counter()
    found = kills(6 if o.quick else o.runs, o.seed)
    summary(found)
    print(f"took {time.perf_counter() - began:.0f} s")
    if o.json:
        o.json.write_text(json.dumps([each._asdict() for each in found], indent=1), encoding="utf-8")
    sys.exit(not all(each.well for each in found))


if __name__ == "__main__":
    main()
