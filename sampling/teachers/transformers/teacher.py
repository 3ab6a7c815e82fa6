"""A teacher that runs a transformers model in this process, on the CPU or a GPU.

Requests in flight are batched continuously by one background thread (see `engine`); a beginning that
prompts share is computed once. The model is loaded by that thread when the first request comes.

It refuses prompts longer than the model's context, tokenizers without a chat template, and code that comes with a
model. For large models on a GPU, vLLM is faster.

    teacher = TransformersTeacher("embedded:smollm2-135m-instruct", concurrency=32)
    completion = await teacher.sample(request, Usage())
    await teacher.close()
"""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from stillroom.common.models import resolve as models
from stillroom.common.records import Completion, Request, Usage
from stillroom.errors import RequestFailed, RunError, StillroomError
from stillroom.sampling.teachers.chat import LocalTeacher
from stillroom.sampling.teachers.transformers.batch import Job
from stillroom.sampling.teachers.transformers.engine import Engine


class TransformersTeacher(LocalTeacher):
    """Samples from the model called `model` (see `stillroom.common.models.resolve`).

    `concurrency`: rows in the batch, and so requests in flight. `dtype` and `device`: as `load_model` has them.
    `share_prefix`: off only to measure.
    """

    def __init__(
        self,
        model: str,
        *,
        concurrency: int = 64,
        dtype: str = "auto",
        device: str = "auto",
        share_prefix: bool = True,
    ) -> None:
        super().__init__(model, concurrency)

        def load() -> Engine:
            loaded = models.load_model(model, dtype=dtype, device=device)
            return Engine(loaded, models.load_tokenizer(model), concurrency, share=share_prefix)

        self._worker = Worker(load, model)
        self._at_exit = weakref.finalize(self, self._worker.stop)

    @functools.cached_property
    def identity(self) -> str:
        """The weights' fingerprint and the engine's kind. Does not load the model."""
        return f"transformers:{self.fingerprint}"

    @property
    def dtype(self) -> str | None:
        """What the model computes in; None as long as it is not loaded."""
        return self._worker.dtype

    async def sample(self, request: Request, usage: Usage) -> Completion:
        """Answers one request.

        Raises RequestFailed for a prompt that does not fit and for a `json_schema`, RunError if the engine broke.
        """
        if request.sampling.json_schema is not None:
            raise RequestFailed(
                "the teacher kind transformers cannot hold an answer to sampling.json_schema: leave it out, or use "
                "kind: vllm, or kind: openai with a server that can",
                retryable=False,
            )
        future: Future[Completion] = Future()
        self._worker.submit(Job(request, usage, future))
        return await asyncio.wrap_future(future)  # cancelling this cancels `future`, which the engine looks at

    async def close(self) -> None:
        """Ends the thread and frees the model. What is still waiting fails."""
        await asyncio.to_thread(self._at_exit)


class Worker:
    """The thread that owns the engine. Never leaves a future unanswered. `dtype`: the model's, once it is loaded.

    `together`: it begins when it has this many requests. Then the batches depend on the requests alone, not on when
    each of them came, and so does how the model's numbers are rounded.
    """

    def __init__(self, load: Callable[[], Engine], model: str, together: int = 1) -> None:
        self._load, self._model, self._together = load, model, together
        self.dtype: str | None = None
        self._inbox: deque[Job] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> None:
        """Queues a job; starts the thread if none runs."""
        with self._changed:
            if self._stopping:
                raise RunError(f"the teacher {self._model!r} has been closed: make a new one")
            self._inbox.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="stillroom-teacher", daemon=True)
                self._thread.start()
            self._changed.notify()

    def stop(self) -> None:
        """Ends the thread after its current step. Safe to call twice."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        engine = None
        try:
            engine = self._load()
            self.dtype = str(engine.model.dtype).removeprefix("torch.")
            while self._take(engine):
                try:
                    engine.step()
                except Exception as failed:  # noqa: BLE001  out of memory, a bug: these rows fail, later ones may not
                    jobs = engine.jobs()
                    engine.reset()
                    why = f"{self._model!r} failed"
                    _fail(jobs, failed if isinstance(failed, StillroomError) else _explained(failed, why))
            error: BaseException = RunError(f"the teacher {self._model!r} was closed before it had answered")
        except StillroomError as known:
            error = known
        except Exception as unknown:  # noqa: BLE001  whatever broke, the askers must hear of it
            error = _explained(unknown, f"the teacher {self._model!r} cannot be loaded")
        with self._changed:
            jobs = [*(engine.jobs() if engine is not None else ()), *self._inbox]
            self._inbox.clear()
            self._thread = None  # a later request tries again
        _fail(jobs, error)
        del engine
        # torch keeps a GPU's memory for itself otherwise, and a student may want to train.
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _take(self, engine: Engine) -> bool:
        """Hands new jobs to the engine, waiting for one if there is nothing to do. False: time to stop."""
        with self._changed:
            while engine.idle and len(self._inbox) < self._together and not self._stopping:
                self._changed.wait()
            self._together = 1
            if self._stopping:
                return False
            jobs, self._inbox = self._inbox, deque()
        for job in jobs:
            try:
                engine.add(job)
            except StillroomError as error:
                _fail([job], RequestFailed(str(error), retryable=False))
            except Exception as error:  # noqa: BLE001  a bug in a tokenizer or template fails this request alone
                _fail([job], _explained(error, f"{self._model!r} cannot read the request"))
        return True


def _fail(jobs: list[Job], error: BaseException) -> None:
    for job in jobs:
        if not job.future.done() and job.future.set_running_or_notify_cancel():
            job.future.set_exception(error)


def _explained(error: Exception, what: str) -> RunError:
    lines = str(error).strip().splitlines() or [""]
    message = f"{what}: {type(error).__name__}: {lines[0][:300]}"
    if "out of memory" in str(error).lower() or isinstance(error, MemoryError):
        message += ". Lower the teacher's concurrency or max_tokens"
    explained = RunError(message)
    explained.__cause__ = error
    return explained
