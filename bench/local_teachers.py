"""Tokens per second of local teachers on one workload, side by side in one run.

    python bench/local_teachers.py [--model NAME] [--rows 64] [--requests 192] [--max-tokens 48] [--skip vllm]

The workload is that of a few-shot run: a system prompt with worked examples that all prompts share, four draws of
each task, answers at temperature 0.8. `processor seconds` beside the wall clock say how far other work on the machine
has disturbed a line. Control: transformers' own `generate` in blocking batches of the same size.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import resource
import time
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from stillroom.common.models import resolve as models
from stillroom.common.records import Message, Request, SamplingParams, Usage
from stillroom.sampling.teachers.base import Teacher
from stillroom.sampling.teachers.chat import encode_chat
from stillroom.sampling.teachers.transformers.teacher import TransformersTeacher
from stillroom.sampling.teachers.vllm.teacher import VllmTeacher

DRAWS = 4


class Line(NamedTuple):
    """One measured way: answer tokens, seconds on the wall, seconds of processor (of this process alone)."""

    name: str
    tokens: int
    wall_s: float
    processor_s: float


def workload(requests: int, max_tokens: int) -> list[Request]:
    shown = "\n\n".join(
        f"Question: What is {a} + {b}?\nAnswer: We add the tens and the ones of {a} and {b}. {a} + {b} = {a + b}. "
        f"The answer is \\boxed{{{a + b}}}."
        for a, b in ((12, 34), (56, 7), (81, 19))
    )
    system = Message("system", f"You are a careful tutor. Answer as in these examples.\n\n{shown}")
    sampling = SamplingParams(temperature=0.8, max_tokens=max_tokens)
    return [
        Request(str(k // DRAWS), k % DRAWS, (system, question(k // DRAWS)), sampling, seed=k) for k in range(requests)
    ]


def question(task: int) -> Message:
    return Message("user", f"What is {13 + task * 7 % 83} + {5 + task * 11 % 71}?")


def timed(name: str, work: Callable[[], int]) -> Line:
    wall, processor = time.perf_counter(), time.process_time()
    tokens = work()
    return Line(name, tokens, time.perf_counter() - wall, time.process_time() - processor)


async def measure(name: str, teacher: Teacher, requests: list[Request]) -> Line:
    """Loads the teacher with a first request, then asks all at once."""
    warm = requests[0].sampling.model_copy(update={"max_tokens": 4})
    await teacher.sample(Request("warm", 0, (Message("user", "Hello"),), warm, 0), Usage())
    wall, processor = time.perf_counter(), time.process_time()
    answers = await asyncio.gather(*(teacher.sample(request, Usage()) for request in requests))
    line = Line(
        name,
        sum(answer.completion_tokens for answer in answers),
        time.perf_counter() - wall,
        time.process_time() - processor,
    )
    await teacher.close()
    return line


def generate(model_name: str, requests: list[Request], rows: int) -> Line:
    """transformers' generate: a batch is as slow as its longest answer, and reads every prompt whole."""
    import torch

    model, tokenizer = models.load_model(model_name), models.load_tokenizer(model_name)
    tokenizer.padding_side = "left"
    prompts = [encode_chat(tokenizer, request.messages) for request in requests]
    options = {"do_sample": True, "temperature": 0.8, "top_p": 1.0, "top_k": 0}

    def work() -> int:
        tokens = 0
        for start in range(0, len(prompts), rows):
            batch = tokenizer.pad({"input_ids": prompts[start : start + rows]}, return_tensors="pt").to(model.device)
            with torch.inference_mode():
                out = model.generate(**batch, **options, max_new_tokens=requests[0].sampling.max_tokens)
            answers = out[:, batch["input_ids"].shape[1] :]
            tokens += int((answers != tokenizer.pad_token_id).sum())
        return tokens

    return timed("transformers generate, blocking batches", work)


def continuous(model_name: str, requests: list[Request], rows: int) -> Line:
    """transformers' own continuous batching."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    model, tokenizer = models.load_model(model_name), models.load_tokenizer(model_name)
    prompts = [encode_chat(tokenizer, request.messages) for request in requests]
    settings = GenerationConfig(
        max_new_tokens=requests[0].sampling.max_tokens,
        do_sample=True,
        temperature=0.8,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    batching = ContinuousBatchingConfig(max_batch_tokens=rows + 256, num_blocks=3 * rows)

    def work() -> int:
        found = model.generate_batch(prompts, settings, batching, progress_bar=False)
        return sum(len(answer.generated_tokens) for answer in found.values())

    return timed("transformers continuous batching", work)


def shown(line: Line, first: float) -> str:
    """A line of the table. `first`: tokens per second of the first way, which the others are compared with."""
    rate = line.tokens / line.wall_s
    return (
        f"{line.name:42} {line.tokens:7} {line.wall_s:7.1f} {line.processor_s:7.1f} {rate:7.0f} {rate / first:6.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="embedded:smollm2-135m-instruct")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--requests", type=int, default=192)
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument(
        "--skip", nargs="*", default=[], choices=["ours", "unshared", "generate", "continuous", "vllm"]
    )
    options = parser.parse_args()
    requests = workload(options.requests, options.max_tokens)

    def ours(share: bool) -> Coroutine[Any, Any, Line]:
        teacher = TransformersTeacher(options.model, concurrency=options.rows, share_prefix=share)
        return measure(f"stillroom transformers{'' if share else ', nothing shared'}", teacher, requests)

    ways: dict[str, Callable[[], Line]] = {
        "ours": lambda: asyncio.run(ours(True)),
        "unshared": lambda: asyncio.run(ours(False)),
        "generate": lambda: generate(options.model, requests, options.rows),
        "continuous": lambda: continuous(options.model, requests, options.rows),
    }
    if importlib.util.find_spec("vllm") is not None:
        vllm = VllmTeacher(options.model, concurrency=options.rows)
        ways["vllm"] = lambda: asyncio.run(measure("stillroom vllm", vllm, requests))
    print(f"{'way':42} {'tokens':>7} {'wall s':>7} {'cpu s':>7} {'tok/s':>7} {'ratio':>6}")
    first = 0.0
    for name, way in ways.items():
        if name not in options.skip:
            line = way()
            first = first or line.tokens / line.wall_s
            print(shown(line, first), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MiB (of this process)")


if __name__ == "__main__":
    main()
