"""Names servers that offer different models under one name, so that an answer on record is nobody's but who gave it.

The ledger knows a teacher by its identity, which does not say where it is: a model that moves is still that model. In
one recipe, the same name at two addresses is taken for two models; each is named after its address, unless the recipe
names it (`teacher.name`).

    told_apart(recipe).candidates[0].teacher.name       # "http://gpu-1:8000/v1"
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel

from stillroom.sampling.teachers.openai import OpenAISettings

M = TypeVar("M", bound=BaseModel)

_DEFAULT = "the default address"


def told_apart(recipe: M) -> M:
    """The recipe, with a name for each server whose model another server offers under the same name."""
    addresses: defaultdict[str, set[str]] = defaultdict(set)

    def note(settings: OpenAISettings) -> OpenAISettings:
        addresses[_asked_for(settings)].add(_address(settings))
        return settings

    def named(settings: OpenAISettings) -> OpenAISettings:
        if settings.name is not None or len(addresses[_asked_for(settings)]) < 2:
            return settings
        return settings.model_copy(update={"name": _address(settings)})

    _changed(recipe, note)
    found: M = _changed(recipe, named)
    return found


def _asked_for(settings: OpenAISettings) -> str:
    return json.dumps([settings.model, settings.name, settings.extra_body], sort_keys=True)


def _address(settings: OpenAISettings) -> str:
    """Several addresses of one model are one, in whatever order they stand there."""
    given = settings.base_url
    urls = (given,) if isinstance(given, str) else given or (_DEFAULT,)
    return " ".join(sorted({url.rstrip("/") for url in urls}))


def _changed(value: Any, change: Callable[[OpenAISettings], OpenAISettings]) -> Any:
    """A copy of plain settings with each server in it changed; the value itself where nothing changes."""
    if isinstance(value, OpenAISettings):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_changed(each, change) for each in value)
    if not isinstance(value, BaseModel):
        return value
    before = {name: getattr(value, name) for name in type(value).model_fields}
    after = {name: _changed(each, change) for name, each in before.items()}
    update = {name: each for name, each in after.items() if each != before[name]}
    return value.model_copy(update=update) if update else value
