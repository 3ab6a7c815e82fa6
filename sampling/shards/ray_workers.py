"""Workers as actors of Ray: on this machine, or on the machines of a cluster that is there.

    with cluster(None):
        worker = start(job, folder, slots=16)
        ended = await worker.run(tasks)

Ray starts the processes, places them and says when one has died; nothing else of it is used. Nothing secret is sent:
keys are read from the environment where a worker runs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stillroom.common.records import Task
from stillroom.common.text import first_line
from stillroom.errors import InputError, MissingExtra, RunError
from stillroom.sampling.shards.plan import Job
from stillroom.sampling.shards.worker import Ended, Seen, ShardWorker

STORE_BYTES = 100 << 20
"""Ray's object store on this machine: next to nothing goes through it."""


class WorkerDied(Exception):
    """A worker's process, or its machine, is gone; its ledger holds what was answered."""


@contextmanager
def cluster(address: str | None) -> Iterator[Any]:
    """The module `ray`, connected: to the cluster at `address`, or to one of this machine's that ends with the block.

    Raises MissingExtra where Ray is not installed, RunError where the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("several shards", error.name or "ray", "ray") from error
    if ray.is_initialized():  # by the program that called us
        yield ray
        return
    here: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE_BYTES} if address is None else {}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **here)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = "on this machine" if address is None else f"at {address}"
        raise RunError(f"Ray cannot be started or reached {where}: {first_line(error)}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


class RayWorker:
    """A `ShardWorker` in another process. Its methods are those of that class; each raises WorkerDied where the
    process is gone."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def run(self, tasks: Sequence[Task]) -> Ended:
        """As of `ShardWorker`."""
        found: Ended = await self._call("run", tasks)
        return found

    async def seen(self) -> Seen:
        """As of `ShardWorker`."""
        found: Seen = await self._call("seen")
        return found

    async def use(self, slots: int) -> None:
        """As of `ShardWorker`."""
        await self._call("use", slots)

    async def stop(self) -> None:
        """As of `ShardWorker`."""
        await self._call("stop")

    def kill(self) -> None:
        """Ends it at once."""
        import ray

        ray.kill(self._actor)

    async def _call(self, name: str, *given: object) -> Any:
        import ray

        try:
            return await getattr(self._actor, name).remote(*given)
        except ray.exceptions.RayActorError as error:
            raise WorkerDied(first_line(error)) from error
        except ray.exceptions.RayTaskError as error:
            raise RunError(f"a worker failed: {first_line(error.cause)}") from error


def start(job: Any, folder: Path, slots: int, *, gpu: bool) -> RayWorker:
    """A worker; its process starts meanwhile. `job`: as `send` gave it. `gpu`: it gets a GPU for itself."""
    import ray

    class ShardOfRun:
        """Async methods, so that they can be called while `run` is under way."""

        def __init__(self, job: Job, folder: Path, slots: int) -> None:
            self._worker = ShardWorker(job, folder, slots)

        async def run(self, tasks: Sequence[Task]) -> Ended:
            return await self._worker.run(tasks)

        async def seen(self) -> Seen:
            return self._worker.seen()

        async def use(self, slots: int) -> None:
            self._worker.use(slots)

        async def stop(self) -> None:
            self._worker.stop()

    # No CPU is asked for: who waits for a server needs none, and ten workers may share two.
    options = {"num_cpus": 0, "num_gpus": int(gpu), "scheduling_strategy": "SPREAD", "max_restarts": 0}
    return RayWorker(ray.remote(ShardOfRun).options(**options).remote(job, folder, slots))


def send(job: Job) -> Any:
    """The job, in Ray's store. Raises InputError where a part of it cannot be sent to another process."""
    import ray

    try:
        return ray.put(job)
    except TypeError as error:
        raise InputError(
            f"this run cannot be sent to other processes ({first_line(error)}): a teacher or scorer that is a "
            "function of a program stays in it; put it into a file (kind: python), or leave shards out"
        ) from error


def gpus() -> int:
    """GPUs of the cluster."""
    import ray

    found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(found.get("GPU", 0))
