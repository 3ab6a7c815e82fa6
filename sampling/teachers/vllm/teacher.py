"""A teacher that runs vLLM in this process: continuous batching, paged attention, prefix caching; GPUs, or a CPU.

vLLM's engine runs in separate processes, which are started with the first request (half a minute and more), and
ended by `close()`; should this process be killed, a small guard ends them; Ctrl-C does not reach them. On a
CPU it computes in what the machine does fast (`models.pick_dtype`), and needs settings that vLLM does not choose by
itself; `dtype` and `engine` override them.

It refuses prompts that do not fit the engine's context. vLLM's own chatter is silenced unless VLLM_LOGGING_LEVEL is
set. Draws are seeded one by one on a GPU; vLLM's CPU engine cannot, so there the engine as a whole is.

    teacher = VllmTeacher("Qwen/Qwen3-8B", engine={"gpu_memory_utilization": 0.8})
    completion = await teacher.sample(request, Usage())
    await teacher.close()
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import itertools
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stillroom.common.hashing import digest
from stillroom.common.marks import split_thinking
from stillroom.common.models import resolve as models
from stillroom.common.records import Completion, FinishReason, Request, SamplingParams, TokenChoice, Usage
from stillroom.errors import InputError, MissingExtra, RequestFailed, RunError, StillroomError
from stillroom.sampling.teachers.chat import LocalTeacher, check_fits, encode_chat, end_tokens, thinking_is_open
from stillroom.sampling.teachers.vllm import signals, watchdog

STREAM_INTERVAL = 8
"""Tokens between two reports on a request: each costs time, and a cancelled request is counted to within these."""
CPU_KV_CACHE_GIB = "2"
# Engine settings that change what is answered, and so belong to the identity; the others change how fast.
ANSWER_SETTINGS = ("quantization", "hf_overrides", "kv_cache_dtype", "rope_scaling", "rope_theta", "load_format")

FINISHED: dict[str | None, FinishReason] = {"stop": "stop", "length": "length"}


class VllmTeacher(LocalTeacher):
    """Samples from the model called `model` (see `stillroom.common.models.resolve`), an adapter included.

    `dtype`: as `load_model` has it. `engine`: arguments of vLLM's `AsyncEngineArgs`, over those chosen here.
    """

    dtype: str | None
    """What the engine computes in; None as long as it has not started."""

    def __init__(
        self, model: str, *, concurrency: int = 256, dtype: str = "auto", engine: dict[str, Any] | None = None
    ) -> None:
        super().__init__(model, concurrency)
        if importlib.util.find_spec("vllm") is None:
            raise MissingExtra("the teacher kind vllm", "vllm", "vllm")
        self.dtype, self._wanted_dtype = None, dtype
        self._settings = dict(engine or {})
        self._starting: asyncio.Future[Loaded] | None = None
        self._closed = False
        self._numbers = itertools.count()

    @functools.cached_property
    def identity(self) -> str:
        """The weights' fingerprint, and the engine settings that change answers."""
        changed = {key: self._settings[key] for key in ANSWER_SETTINGS if key in self._settings}
        suffix = f"+{digest(changed, 8)}" if changed else ""
        return f"vllm:{self.fingerprint}{suffix}"

    @functools.cached_property
    def context(self) -> int | None:
        """Tokens that prompt and answer may have together, as set for the engine, or else as the model has them."""
        given = self._settings.get("max_model_len")
        return given if isinstance(given, int) and given > 0 else super().context

    async def sample(self, request: Request, usage: Usage) -> Completion:
        """Answers one request. Raises RequestFailed for a request that vLLM refuses, RunError if its engine died."""
        loaded = await self._load()
        self.dtype = loaded.dtype
        try:
            prompt = encode_chat(loaded.tokenizer, request.messages)
            check_fits(prompt, loaded.context, request.task_id)
        except StillroomError as error:
            raise RequestFailed(str(error), retryable=False) from error
        usage.prompt_tokens, usage.completion_tokens = len(prompt), 0
        pieces = Pieces(top=request.sampling.top_logprobs)
        try:
            params = sampling_params(request.sampling, loaded.ends, request.seed if loaded.seeded else None)
            given, number = {"prompt_token_ids": prompt}, f"stillroom-{next(self._numbers)}"
            # Closing the generator aborts the request.
            async for output in loaded.engine.generate(given, params, number, lora_request=loaded.adapter):
                pieces.add(output)
                usage.completion_tokens = pieces.tokens
        except Exception as error:  # vLLM's exceptions have no common base across its versions
            raise _translated(error, self.model) from error
        return pieces.completion(len(prompt), opened=thinking_is_open(loaded.tokenizer, prompt))

    async def prompt_logprobs(self, ids: list[int], k: int) -> list[Any]:
        """Of each token of a prompt, the `k` likeliest in its place and itself, as vLLM's server tells them: None for
        the first, then `{"17": {"logprob": -0.3, "rank": 1}, …}`. At temperature 1. Raises as `sample` does."""
        loaded = await self._load()
        self.dtype = loaded.dtype
        told: list[Any] | None = None
        try:
            from vllm import SamplingParams as Theirs

            params = Theirs(temperature=1.0, max_tokens=1, prompt_logprobs=k, detokenize=False)
            given, number = {"prompt_token_ids": ids}, f"stillroom-{next(self._numbers)}"
            async for output in loaded.engine.generate(given, params, number, lora_request=loaded.adapter):
                told = output.prompt_logprobs or told
        except Exception as error:  # vLLM's exceptions have no common base across its versions
            raise _translated(error, self.model) from error
        return [
            at and {str(token): {"logprob": float(each.logprob), "rank": each.rank} for token, each in at.items()}
            for at in told or ()
        ]

    async def close(self) -> None:
        """Ends the engine's processes. Requests that still wait fail."""
        self._closed = True
        starting, self._starting = self._starting, None
        if starting is None:
            return
        try:
            loaded = await asyncio.shield(starting)
        except StillroomError:
            return  # nothing was started; those who asked have been told
        loaded.stop_listening()
        await asyncio.to_thread(loaded.close)

    async def _load(self) -> Loaded:
        """The engine, started by the first who asks. A request that is cancelled meanwhile does not stop the start:
        `close` still has to find what has been started."""
        if self._closed:
            raise RunError(f"the teacher {self.model!r} has been closed: make a new one")
        if self._starting is None:
            start = asyncio.to_thread(_start, self.model, self.concurrency, self._wanted_dtype, self._settings)
            self._starting = asyncio.ensure_future(start)
        return await asyncio.shield(self._starting)


@dataclass(slots=True)
class Loaded:
    """A running engine. `context`: tokens that prompt and answer may have together; `dtype`: what it computes in."""

    engine: Any
    tokenizer: Any
    ends: list[int]
    context: int
    seeded: bool
    adapter: Any
    guard: watchdog.Guard
    dtype: str

    def stop_listening(self) -> None:
        """Ends the task that waits for outputs, where none are due; on its event loop. It would else see the engine
        end, now and then, and log that as a failure with a traceback. With requests that wait it goes on: it tells
        them."""
        handler = getattr(self.engine, "output_handler", None)
        if handler is not None and not self.engine.output_processor.has_unfinished_requests():
            handler.cancel()

    def close(self) -> None:
        """Ends the engine's processes."""
        self.engine.shutdown()
        self.engine.shutdown = lambda: None  # its __del__ calls it again, at the interpreter's end with an error
        self.guard.close()


def sampling_params(params: SamplingParams, ends: list[int], seed: int | None) -> Any:
    """vLLM's form of our sampling settings. Outputs come as they are made, so that a cancelled one is counted."""
    from vllm import SamplingParams as Theirs
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    schema = params.json_schema
    return Theirs(
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=params.top_k or 0,
        min_p=params.min_p or 0.0,
        max_tokens=params.max_tokens,
        stop=list(params.stop),
        stop_token_ids=ends,
        logprobs=params.top_logprobs or (0 if params.logprobs else None),  # 0: of the chosen token alone
        structured_outputs=None if schema is None else StructuredOutputsParams(json=schema),
        seed=seed,
        output_kind=RequestOutputKind.DELTA,
    )


@dataclass(slots=True)
class Pieces:
    """An answer as it comes in. `top`: how many of the most likely tokens were asked for."""

    top: int = 0
    text: list[str] = field(default_factory=list)
    tokens: int = 0
    choices: list[TokenChoice] | None = None
    reason: str | None = None

    def add(self, output: Any) -> None:
        """Takes a vLLM RequestOutput of one sequence."""
        piece = output.outputs[0]
        self.text.append(piece.text)
        self.tokens += len(piece.token_ids)
        self.reason = piece.finish_reason
        if piece.logprobs is None:
            return
        self.choices = [] if self.choices is None else self.choices
        # `found`: vLLM's Logprob by token id, of the most likely tokens and of the one that was drawn.
        for token, found in zip(piece.token_ids, piece.logprobs, strict=True):
            likely = sorted(found.values(), key=lambda one: -one.logprob)[: self.top]
            texts = tuple((one.decoded_token or "", float(one.logprob)) for one in likely)
            drawn = found[token]
            text = drawn.decoded_token or "" if self.top else ""
            self.choices.append(TokenChoice(text, float(drawn.logprob), texts))

    def completion(self, prompt_tokens: int, *, opened: bool) -> Completion:
        """The whole answer, its thinking part apart. `opened`: the template had opened one in the prompt."""
        thinking = split_thinking("".join(self.text), opened=opened)
        return Completion(
            text=thinking.text,
            finish_reason=FINISHED.get(self.reason, "unknown"),
            prompt_tokens=prompt_tokens,
            completion_tokens=self.tokens,
            reasoning=thinking.reasoning,
            logprobs=None if self.choices is None else tuple(choice.logprob for choice in self.choices),
            choices=None if self.choices is None or not self.top else tuple(self.choices),
        )


def engine_settings(
    model: str, adapter: Path | None, concurrency: int, given: Mapping[str, Any], *, on_cpu: bool, dtype: str = "auto"
) -> dict[str, Any]:
    """The arguments for vLLM's engine, which loads the folder `model`, with the adapter on top of it; those given by
    the user come last. `dtype`: as `load_model` has it, but on a GPU "auto" is vLLM's own: the type of the weights,
    or float16 where the GPU has no bfloat16."""
    settings: dict[str, Any] = {
        "model": model,
        "dtype": models.pick_dtype("cpu", dtype) if on_cpu else dtype,
        "max_num_seqs": concurrency,
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "stream_interval": STREAM_INTERVAL,
    }
    if on_cpu:
        settings["enforce_eager"] = True
    if adapter is not None:
        rank = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["r"]
        settings |= {"enable_lora": True, "max_lora_rank": max(8, 1 << (int(rank) - 1).bit_length())}
    return settings | dict(given)


def _start(model: str, concurrency: int, dtype: str, given: Mapping[str, Any]) -> Loaded:
    folder = Path(models.resolve_model(model).path)
    base = models.adapter_base(folder)
    loaded, adapter = (folder, None) if base is None else (Path(models.resolve_model(base).path), folder)
    tokenizer = models.load_tokenizer(model)
    with quiet_vllm() as on_cpu:
        settings = engine_settings(str(loaded), adapter, concurrency, given, on_cpu=on_cpu, dtype=dtype)
        guard = watchdog.Guard()
        try:
            with guard.watching():
                from vllm import AsyncEngineArgs
                from vllm.v1.engine.async_llm import AsyncLLM

                engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**settings))
        except Exception as error:
            guard.close()
            raise RunError(
                f"vLLM did not start with {model!r}: {type(error).__name__}: {error}. Set VLLM_LOGGING_LEVEL=INFO to "
                "see why"
            ) from error
    context = int(engine.model_config.max_model_len)
    used = str(engine.model_config.dtype).removeprefix("torch.")
    ends = sorted(end_tokens(tokenizer, None))
    lora = None
    if adapter is not None:
        from vllm.lora.request import LoRARequest

        lora = LoRARequest(adapter.name, 1, str(adapter))
    return Loaded(engine, tokenizer, ends, context, not on_cpu, lora, guard, used)


@contextlib.contextmanager
def quiet_vllm() -> Iterator[bool]:
    """Imports vLLM and says whether it runs on a CPU here. During the block, what its processes inherit from the
    environment keeps them quiet, and gives them a cache on a CPU; afterwards the environment is as before.

    Raises InputError where vLLM cannot be imported.
    """
    wanted = {"VLLM_LOGGING_LEVEL": "ERROR"} | {signals.OWNER: str(os.getpid())}
    if "VLLM_LOGGING_LEVEL" not in os.environ:
        wanted |= {"PYTHONWARNINGS": "ignore", "TORCH_CPP_LOG_LEVEL": "ERROR"}
        logging.getLogger("vllm").addHandler(logging.NullHandler())  # it warns before it has set up its logging
    with _environment(wanted), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside vLLM and torch
        try:
            from vllm.platforms import current_platform
        except (ImportError, RuntimeError) as error:
            raise InputError(f"vLLM cannot be imported here: {error}. Is it the build for this machine?") from error
        on_cpu = bool(current_platform.is_cpu())
        with _environment({"VLLM_CPU_KVCACHE_SPACE": CPU_KV_CACHE_GIB} if on_cpu else {}):
            yield on_cpu


@contextlib.contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Sets variables that are not set, during the block."""
    added = [key for key in wanted if key not in os.environ]
    os.environ.update({key: wanted[key] for key in added})
    try:
        yield
    finally:
        for key in added:
            os.environ.pop(key, None)


def _translated(error: Exception, model: str) -> StillroomError:
    if isinstance(error, StillroomError):
        return error
    kind = type(error).__name__
    if kind == "EngineDeadError":
        return RunError(
            f"the vLLM engine of {model!r} died. Set VLLM_LOGGING_LEVEL=INFO to see why; out of memory is the most "
            "common cause: lower concurrency, engine.max_model_len or engine.gpu_memory_utilization"
        )
    return RequestFailed(f"vLLM gave no answer: {kind}: {error}", retryable=kind == "EngineGenerateError")
