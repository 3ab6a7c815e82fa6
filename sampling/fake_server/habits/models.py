"""Habits about the list of models, which clients ask for first and many servers do not have."""

from __future__ import annotations

from typing import Any

from stillroom.sampling.fake_server.exchange import Asked, Piece, Reply, as_json, error, page
from stillroom.sampling.fake_server.habits import Habit, always

_ON = frozenset({"models"})
_MANY = 20_000


def _list(*names: str) -> Reply:
    return as_json({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})


def _many(reply: Reply, asked: Asked) -> Reply:
    return _list(*(f"provider-{i % 50}/model-{i}" for i in range(_MANY)), "fake")


def _begun(data: bytes, length: int) -> Reply:
    """A body that is announced and does not come."""
    return Reply(headers={"Content-Type": "application/json"}, pieces=(Piece(data),), length=length, after="hang")


def _habit(name: str, about: str, reply: Any) -> Habit:
    return Habit(name, about, always(lambda asked: reply), on=_ON)


HABITS = (
    _habit("models_hangs", "`/models` never answers; all else does", Reply(status=0, after="hang")),
    _habit("models_stalls", "`/models` begins, and nothing more comes", _begun(b'{"object": "list"', 99)),
    _habit(
        "models_endless", "`/models` announces 90 GiB of blanks, and stops after some", _begun(b" " * 5_000, 90 << 30)
    ),
    _habit("models_404", "there is no `/models`", as_json({"detail": "Not Found"}, 404)),
    _habit("models_401", "`/models` refuses the key; all else does not", error(401, "Incorrect API key.")),
    _habit("models_403", "`/models` is forbidden; all else is not", error(403, "Not for you.")),
    _habit("models_500", "`/models` fails", error(500, "Internal server error")),
    _habit("models_html", "`/models` is an HTML page", page(200, "Welcome", "It works!")),
    _habit("models_empty", "`/models` lists none", _list()),
    _habit("models_other", "`/models` lists others, yet all are answered", _list("llama-3", "qwen-3")),
    _habit("models_plain_list", "`/models` is a list of names", as_json(["fake"])),
    Habit("models_big", f"`/models` lists {_MANY:,}", send=_many, on=_ON),
)
