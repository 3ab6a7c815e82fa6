"""A teacher that asks in batches: requests go to the server in files, and answers come back in files, hours later and
at a lower price.

A request waits until a file is closed: by the core, once all is drawn that can be drawn without an answer
(`send_gathered`), else after a pause without further requests. So drawing goes in waves. The request, its key in the
ledger and its answer are the same as those of a teacher that asks at once, so a run may be switched between both and
pays for nothing twice.

What is in a batch is on disk before it is sent (`files`). Whoever asks again for a request that an open batch has,
after a kill, say, waits for that batch; whoever asks for one that a batch has answered gets that answer. A line that
failed in passing, expired, or never came back is asked again in the next file, as often as `retry.attempts` says; one
that is refused is a failed request. Lines about nothing that was asked, doubles, and what cannot be read are counted.

With `batch.dir` nothing is sent: the files lie in that folder, and the run ends saying what is to be answered.

    teacher = BatchTeacher(OpenAISettings(kind="openai", model="gpt-5-mini", batch=True))
    teacher.keep_in(Path("runs/sums"), counts)
"""

from __future__ import annotations

import asyncio
import json
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from stillroom.common.files import at_home
from stillroom.common.formatting import duration
from stillroom.common.outside import NotJson, read_json
from stillroom.common.records import Completion, Request, Usage
from stillroom.errors import InputError, Interrupted, RequestFailed, RunError, StillroomError, TeacherDown
from stillroom.sampling.counts import Counts
from stillroom.sampling.teachers.openai import OpenAISettings
from stillroom.sampling.teachers.openai.answer import ErrorInside, read_answer
from stillroom.sampling.teachers.openai.batch import BatchSettings
from stillroom.sampling.teachers.openai.batch.files import Batch, BatchFiles, Line
from stillroom.sampling.teachers.openai.batch.lines import Result, custom_id, request_line
from stillroom.sampling.teachers.openai.batch.remote import Remote, Seen, Unknown
from stillroom.sampling.teachers.openai.faults import fields_of, said_in, status_of
from stillroom.sampling.teachers.openai.http import Http, HttpReply, NoAnswer
from stillroom.sampling.teachers.openai.learned import Learned
from stillroom.sampling.teachers.openai.teacher import OpenAITeacher

FOLDER = "batches"
"""In a run's folder."""
_SHOWN = 2
# Looks at a batch in a row that get no reply, each after its retries: hours pass, and a network may be away.
_MOST_MISSED = 20
_MOST_LEARNED = 5  # things that a server may want otherwise, one batch after the other
_NO_SERVER = "http://localhost"


class _Waiter(NamedTuple):
    """Somebody who waits for a result: None says that the answer is on file."""

    future: asyncio.Future[Result | None]
    usage: Usage


class BatchTeacher(OpenAITeacher):
    """Asks one model in batches; `concurrency` is how many requests may wait. Raises as OpenAITeacher does; with a
    folder in the place of a server, no key is needed."""

    def __init__(self, settings: OpenAISettings, base: Path = Path()) -> None:
        batch = settings.batching or BatchSettings()
        self._folder = None if batch.dir is None else base / at_home(batch.dir)
        alone = self._folder is not None and settings.base_url is None
        super().__init__(settings.model_copy(update={"base_url": _NO_SERVER}) if alone else settings, base)
        self.concurrency, self._batch = batch.in_flight, batch
        self._by_hand = self._folder is not None
        self._counts = Counts()
        self._files: BatchFiles | None = None
        self._gathered: dict[str, Line] = {}
        self._waiting: dict[str, list[_Waiter]] = {}
        self._following: dict[str, asyncio.Task[None]] = {}
        self._shown: dict[str, str] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._broken: StillroomError | None = None

    def keep_in(self, folder: Path, counts: Counts) -> None:
        """Where the run is, next to whose ledger the files are kept, and where progress is told."""
        self._counts = counts
        if self._folder is None:
            self._folder = folder / FOLDER

    async def sample(self, request: Request, usage: Usage) -> Completion:
        """Waits for the answer to a request, which goes into the next file unless a batch has it already."""
        usage.resumes = True
        name, left, learned = custom_id(self.identity, request), self._settings.retry.attempts, 0
        while True:
            result = await self._result(name, request, usage)
            try:
                return self._completion(request, result, usage)
            except _Learned as found:
                learned += 1
                if learned > _MOST_LEARNED:
                    raise RequestFailed(
                        f"the server does not take what it asks for: {found}", retryable=False
                    ) from None
            except RequestFailed as failed:
                left -= 1
                if not failed.retryable or left <= 0:
                    raise RequestFailed(str(failed), retryable=False) from None

    def send_gathered(self, overdraw: float = 0.0) -> None:
        """Closes the file that is being gathered: nothing more comes without an answer. `overdraw`: requests of it
        that are expected not to be needed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            self._send(overdraw)
            if self._by_hand:
                self._collect()
        except StillroomError as error:
            self._break(error)

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for task in self._following.values():
            task.cancel()
        await asyncio.gather(*self._following.values(), return_exceptions=True)
        self._following.clear()
        if self._files is not None:
            self._files.close()
        self._files = None
        await super().close()

    # -- gathering -------------------------------------------------------------------------------------------

    async def _result(self, name: str, request: Request, usage: Usage) -> Result:
        """The result of a request. Nothing is awaited before it is gathered, so that the core knows when all are."""
        files = self._opened()
        if self._broken is not None:
            raise self._broken
        if (answer := files.answer(name)) is not None:
            return answer
        usage.begun = files.batch_of(name) is not None
        if not usage.begun and name not in self._gathered:
            line = Line(name, request_line(name, self._body_of(request)))
            if len(line.data) > self._batch.megabytes * 1_000_000:
                raise RequestFailed(
                    f"a request of {len(line.data):,} bytes is longer than a file (teacher.batch.megabytes: "
                    f"{self._batch.megabytes})",
                    retryable=False,
                )
            self._gathered[name] = line
        self._wait_for_more()
        waiter = _Waiter(asyncio.get_running_loop().create_future(), usage)
        self._waiting.setdefault(name, []).append(waiter)
        try:
            result = await waiter.future
        finally:
            self._leave(name, waiter)
        found = result or files.answer(name)
        return found or Result(name, 500, b'{"error": "the answer cannot be read"}')

    def _leave(self, name: str, waiter: _Waiter) -> None:
        """Whoever is cancelled leaves no request behind that nobody waits for, unless it has left."""
        waiters = self._waiting.get(name, [])
        if waiter in waiters:
            waiters.remove(waiter)
        if not waiters:
            self._waiting.pop(name, None)
            self._gathered.pop(name, None)

    def _wait_for_more(self) -> None:
        """Closes the file after a pause without further requests."""
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._batch.gather_s, self.send_gathered)

    def _opened(self) -> BatchFiles:
        """The files of this run, open; what the server was working on is looked after from now on."""
        if self._files is None:
            if self._folder is None:
                raise RunError("a teacher that asks in batches was not told where to keep its files: call keep_in")
            self._files = BatchFiles(self._folder)
            if self._by_hand:
                self._collect_ready()
            for batch in () if self._by_hand else self._files.open_batches:
                self._follow(batch)
        return self._files

    def _body_of(self, request: Request) -> dict[str, object]:
        body = self._body(request, self._servers[0].learned)
        for name in ("stream", "stream_options"):
            body.pop(name, None)
        return body

    # -- sending ---------------------------------------------------------------------------------------------

    def _send(self, overdraw: float) -> None:
        """Puts what was gathered into files, and sends each on its way."""
        files = self._opened()
        gathered, self._gathered = list(self._gathered.values()), {}
        if not gathered:
            return
        self._counts.waves += 1
        self._counts.wave = len(gathered)
        self._counts.overdraw += round(overdraw, 1)
        for lines in _files_of(gathered, self._batch.requests, self._batch.megabytes * 1_000_000):
            batch = files.write(lines)
            for line in lines:
                for waiter in self._waiting.get(line.custom_id, ()):
                    waiter.usage.begun = True
            if not self._by_hand:
                self._follow(batch)

    def _follow(self, batch: Batch) -> None:
        self._following[batch.name] = asyncio.create_task(self._guarded(batch))

    async def _guarded(self, batch: Batch) -> None:
        """Follows a batch to its end; what goes wrong ends all who wait."""
        try:
            await self._until_done(batch)
        except asyncio.CancelledError:
            raise
        except StillroomError as error:
            self._break(error)
        except Exception as error:  # noqa: BLE001 - whoever waits would wait for ever
            self._break(
                RunError(f"following the batch {batch.name} failed: {type(error).__name__}: {self._blot(str(error))}")
            )
        finally:
            self._shown.pop(batch.name, None)
            self._tell()

    async def _until_done(self, batch: Batch) -> None:
        remote = self._remote()
        try:
            seen, missed = await self._created(remote, batch), 0
            while not seen.ended:
                self._shown[batch.name] = progress(seen, batch.lines, time.time())
                self._tell()
                await asyncio.sleep(self._batch.poll_s)
                try:
                    seen, missed = await remote.look(seen.id), 0
                except RequestFailed as failed:
                    missed += 1
                    if not failed.retryable or missed >= _MOST_MISSED:
                        raise
            if seen.status == "failed":
                raise self._refused(batch, seen)
            for file_id, path in ((seen.output, batch.output), (seen.errors, batch.errors)):
                if file_id is not None:
                    await remote.fetch(file_id, path)
        except RequestFailed as failed:
            raise TeacherDown(
                f"{self._servers[0].name}: {failed}. The requests of {batch.requests} are on record as "
                f"{batch.batch_id or 'not sent'}: run the same command again to go on"
            ) from None
        self._deliver(batch)

    async def _created(self, remote: Remote, batch: Batch) -> Seen:
        """The batch at the server, which is created at most once."""
        while True:
            if batch.state == "sent" and batch.batch_id is not None:
                return await remote.look(batch.batch_id)
            if batch.file_id is None:
                file_id = await remote.upload(batch.requests, f"{batch.name}.jsonl")
                batch.note("creating", file_id=file_id)
                seen = None
            else:  # somebody was killed, or got no reply, while it was created
                file_id = batch.file_id
                seen = await remote.find(file_id, batch.name)
            try:
                seen = seen or await remote.create(file_id, self._batch.window, batch.name)
            except Unknown:
                await asyncio.sleep(self._batch.poll_s)
                continue
            batch.note("sent", batch_id=seen.id)
            return seen

    def _remote(self) -> Remote:
        if self._http is None:
            own = self._servers[0].has_user
            self._http = Http("" if own else self._key, self._settings.timeout_s, self._headers, self._ca_file)
        server = self._servers[0]
        return Remote(self._http, server.url, self._settings.retry, self._no_batch, server.name)

    def _no_batch(self, reply: HttpReply, after_s: float | None, before: str) -> StillroomError:
        """The error for a reply about batches that is none."""
        server = self._servers[0]
        if reply.status == 401:
            return self._key_refused(server, reply.status, self._blot(said_in(reply.body)))
        if reply.status in (404, 405, 501):
            return InputError(
                f"{server.name} answered {reply.status} for {before.removesuffix(': ')} "
                f"({self._blot(said_in(reply.body)) or 'no reason given'}): it has no batch API, or not this batch "
                "or file: correct teacher.base_url or the key, or ask at once with teacher.batch: false"
            )
        return self._refusal(reply, after_s, before)

    def _refused(self, batch: Batch, seen: Seen) -> StillroomError:
        """Takes back a batch that the server refused as a whole; the error for it."""
        if self._files is not None:
            self._files.refuse(batch)
        said = "; ".join(self._blot(json.dumps(each)) for each in seen.said) or "no reason given"
        where = f"{self._servers[0].name} refused the batch {seen.id} of {batch.lines:,} requests ({said})"
        if "limit" in said.lower():
            return TeacherDown(
                f"{where}. None of it was answered: lower teacher.batch.requests and in_flight, or run the same "
                "command again when earlier batches are done"
            )
        return InputError(f"{where}. None of it was answered: correct the recipe's teacher and run it again")

    # -- results ---------------------------------------------------------------------------------------------

    def _deliver(self, batch: Batch) -> None:
        """Hands out the results of a batch, whose files are in place."""
        files = self._opened()
        asked = set(batch.waiting)
        taken = files.finish(batch)
        counts = self._counts
        counts.lines_unknown += taken.unknown
        counts.lines_twice += taken.twice
        counts.lines_unread += taken.unread
        for name in asked:
            result = taken.failed.get(name)
            if name in taken.missing:
                result = Result(name, 500, b'{"error": "no line of the results is about it"}')
            for waiter in self._waiting.get(name, ()):
                if not waiter.future.done():
                    waiter.future.set_result(result)

    def _completion(self, request: Request, result: Result, usage: Usage) -> Completion:
        """The answer in a result. Raises as `sample` does, and _Learned where another way to ask makes sense."""
        status, body = result.status, result.body
        if result.answered:
            try:
                answer = read_answer(
                    body, usage, choices=request.sampling.top_logprobs > 0, ends=self._settings.finish_reasons
                )
            except ErrorInside as inside:
                status, body = status_of(inside.error), json.dumps({"error": inside.error}).encode()
            except NoAnswer as none:
                self._opened().forget(result.custom_id)
                raise RequestFailed(self._blot(str(none)), retryable=True) from None
            else:
                self._costs.note(request.task_id, answer.prompt_tokens, answer.completion_tokens)
                return answer
            self._opened().forget(result.custom_id)
        usage.prompt_tokens = usage.completion_tokens = None
        reply, learned = HttpReply(status, {}, body), self._servers[0].learned
        if status in (400, 422) and (
            self._learned(reply, request) or self._learns(learned, reply, self._body_of(request))
        ):
            raise _Learned(self._blot(said_in(body)))
        raise self._refusal(reply, None, "in a batch: ")

    def _learned(self, reply: HttpReply, request: Request) -> bool:
        """Whether a refusal is about something that was learned from another line of the same batch meanwhile."""
        try:
            fields = fields_of(read_json(reply.body))
        except NotJson:
            return False
        first = Learned(self._settings.max_tokens_field)
        name = first.parameter(reply.status, fields, self._body(request, first))
        return name is not None and name not in self._body_of(request)

    def _break(self, error: StillroomError) -> None:
        """Ends all who wait, and whoever asks from now on."""
        self._broken = self._broken or error
        for waiters in list(self._waiting.values()):
            for waiter in waiters:
                if not waiter.future.done():
                    waiter.future.set_exception(self._broken)

    def _tell(self) -> None:
        told = list(self._shown.values())
        more = f"; {len(told) - _SHOWN} more batches" if len(told) > _SHOWN else ""
        self._counts.batches = "; ".join(told[:_SHOWN]) + more

    # -- a folder in the place of a server -------------------------------------------------------------------

    def _collect_ready(self) -> None:
        """Takes the results that lie there."""
        for batch in self._opened().open_batches:
            if batch.output.is_file():
                self._deliver(batch)

    def _collect(self) -> None:
        """Ends the run where all who wait, wait for files that somebody has to answer."""
        files = self._opened()
        left = [batch for batch in files.open_batches if not batch.waiting.isdisjoint(self._waiting)]
        if not left or self._gathered or any(w.future.done() for ws in self._waiting.values() for w in ws):
            return
        commands = "\n".join(_commands(left, self._settings.model))
        files_left = "a file" if len(left) == 1 else f"{len(left):,} files"
        raise Interrupted(
            f"{len(self._waiting):,} requests wait to be answered, in {files_left}. Answer them, then run the same "
            f"command again; with vLLM:\n{commands}"
        )


class _Learned(Exception):
    """The server was learned to want to be asked otherwise."""


def progress(seen: Seen, lines: int, now_s: float) -> str:
    """Progress of a batch, and how long it may take, in words.

    >>> seen = Seen("batch_1", "in_progress", 200, 50, None, None, (), began_s=1000.0, expires_s=90_000.0)
    >>> progress(seen, 200, now_s=1600.0)
    'batch_1: 50 of 200 lines, about 30 min 00 s left'
    """
    done = f"{seen.done or 0:,} of {seen.total or lines:,} lines"
    state = "" if seen.status == "in_progress" else f" ({seen.status})"
    left = ""
    if seen.done and seen.total and seen.began_s is not None and now_s > seen.began_s:
        left = f", about {duration((now_s - seen.began_s) / seen.done * (seen.total - seen.done))} left"
    elif seen.expires_s is not None and seen.expires_s > now_s:
        left = f", at most {duration(seen.expires_s - now_s)} left"
    return f"{seen.id}: {done}{state}{left}"


def _files_of(lines: Sequence[Line], most: int, longest: int) -> Iterator[list[Line]]:
    """The lines, in order, in files of at most `most` lines and `longest` bytes."""
    file, size = list[Line](), 0
    for line in lines:
        if file and (len(file) >= most or size + len(line.data) > longest):
            yield file
            file, size = [], 0
        file.append(line)
        size += len(line.data)
    if file:
        yield file


def _commands(batches: Sequence[Batch], model: str) -> Iterator[str]:
    for batch in batches:
        parts = ["vllm", "run-batch", "-i", str(batch.requests), "-o", str(batch.output), "--model", model]
        yield f"  {shlex.join(parts)}"
