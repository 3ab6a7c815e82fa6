"""A teacher over a model in memory: it answers with the weights as they are, gives the model back as it was, and
begins when all requests that belong together are there."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from stillroom.common.records import Request, SamplingParams, Usage, user
from stillroom.errors import RunError
from stillroom.sampling.teachers.transformers import live
from stillroom.sampling.teachers.transformers.engine import Engine
from tests.conftest import tiny

torch = pytest.importorskip("torch")


def request(number: int) -> Request:
    sampling = SamplingParams(temperature=1, max_tokens=3 + number)
    return Request(f"t{number}", 0, user(f"{number} + {'1' * number}?"), sampling, number)


@pytest.fixture
def model() -> Any:
    return tiny.make_model().train()


def open_teacher(model: Any, **more: Any) -> Any:
    return live.live_teacher(model, tiny.make_tokenizer(), name="the student", identity="student:1", **more)


async def test_it_answers_with_the_weights_as_they_are_and_gives_the_model_back(model: Any) -> None:
    texts = []
    for _ in range(2):
        attention = model.config._attn_implementation
        with open_teacher(model) as teacher:
            assert not model.training
            assert teacher.identity == "student:1"
            texts.append((await teacher.sample(request(9), Usage())).text)
        assert model.training
        assert model.config._attn_implementation == attention
        assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(4)
    assert texts[0] != texts[1]


async def test_it_begins_when_all_that_belong_together_are_there(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, sizes = threading.Event(), list[int]()
    init, step = Engine.__init__, Engine.step

    def made(self: Engine, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        loaded.set()

    def stepped(self: Engine) -> None:
        sizes.append(len(self.jobs()))
        step(self)

    monkeypatch.setattr(Engine, "__init__", made)
    monkeypatch.setattr(Engine, "step", stepped)
    with open_teacher(model, together=3) as teacher:
        asked = [asyncio.create_task(teacher.sample(request(0), Usage()))]
        await asyncio.to_thread(loaded.wait, 60)  # the engine is ready, with one request
        asked += [asyncio.create_task(teacher.sample(request(number), Usage())) for number in (1, 2)]
        await asyncio.gather(*asked)
        assert sizes[0] == 3
        await teacher.sample(request(3), Usage())  # later ones do not wait for others


async def test_closing_it_does_not_wait_for_the_others(model: Any) -> None:
    with open_teacher(model, together=2) as teacher:
        asked = asyncio.create_task(teacher.sample(request(0), Usage()))
        await asyncio.sleep(0)
    with pytest.raises(RunError, match="was closed before it had answered"):
        await asked
