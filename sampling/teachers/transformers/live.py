"""A teacher over a model that is in memory already, such as a student between two steps of its training.

    with live_teacher(model, tokenizer, name="the student", identity="student:4f…:step 12") as teacher:
        ...

No weight is copied: it answers with the weights as they are, in evaluation mode, and gives the model back as it was.
Whoever opens it says with `identity` which weights these are, since the ledger re-uses the answers of an identity.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stillroom.sampling.teachers.chat import LocalTeacher
from stillroom.sampling.teachers.transformers.engine import Engine
from stillroom.sampling.teachers.transformers.teacher import TransformersTeacher, Worker


class LiveTeacher(TransformersTeacher):
    """See `live_teacher`, which opens it."""

    def __init__(
        self, model: Any, tokenizer: Any, name: str, identity: str, concurrency: int, together: int = 1
    ) -> None:
        LocalTeacher.__init__(self, name, concurrency)
        self.__dict__ |= {"identity": identity, "fingerprint": identity, "_tokenizer": tokenizer}
        self.__dict__["context"] = int(getattr(model.config, "max_position_embeddings", 0) or 0) or None
        self._worker = Worker(lambda: Engine(model, tokenizer, concurrency), name, together)
        self._at_exit = weakref.finalize(self, self._worker.stop)


@contextmanager
def live_teacher(
    model: Any, tokenizer: Any, *, name: str, identity: str, concurrency: int = 64, together: int = 1
) -> Iterator[LiveTeacher]:
    """`model`: the causal language model itself, its adapter's layers within it. `name`: for messages. `together`: it
    waits for this many requests (at most `concurrency`) before it begins, so that the same ones give the same answers
    to the last bit of the model's numbers; whoever says so makes them all."""
    was, attention = model.training, model.config._attn_implementation
    teacher = LiveTeacher(model, tokenizer, name, identity, concurrency, together)
    model.eval()
    try:
        yield teacher
    finally:
        teacher._at_exit()
        model.set_attn_implementation(attention)
        model.train(was)
