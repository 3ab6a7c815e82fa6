"""A model with some of its layers left out: where the student of a larger model begins.

    found = parse("shallow:20:Qwen/Qwen3-1.7B")       # 20 of its 28 layers
    drop_layers(model, found.layers)

The first and the last layer stay, and others evenly between them, as in Minitron's depth pruning (Muralidharan et al.
2024, arXiv:2407.14679) without its search for the layers that matter least. Such a model says little that makes sense
until it is trained. Refuses a family whose layers are not in one list.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from stillroom.errors import InputError

PREFIX = "shallow:"


class Shallow(NamedTuple):
    """`layers`: how many stay; `base`: the name of the model that they are of."""

    layers: int
    base: str


def parse(name: str) -> Shallow | None:
    """What a name asks for, or None for any other name. Raises InputError for one that is cut short."""
    if not name.startswith(PREFIX):
        return None
    found = re.fullmatch(r"shallow:([1-9]\d{0,3}):(.+)", name)
    if found is None or found[2].startswith(PREFIX):
        raise InputError(f"the model {name!r} says not how many layers of what: write shallow:20:Qwen/Qwen3-1.7B")
    return Shallow(int(found[1]), found[2])


def kept(layers: int, of: int) -> list[int]:
    """Which layers stay.

    >>> kept(4, 10)
    [0, 3, 6, 9]
    """
    return [0] if layers == 1 else [round(i * (of - 1) / (layers - 1)) for i in range(layers)]


def drop_layers(model: Any, layers: int) -> None:
    """Changes a causal language model in place. Raises InputError where it has no such number of layers."""
    import torch

    backbone, config = model.base_model, model.config.get_text_config()
    there = getattr(backbone, "layers", None)
    if there is None or not hasattr(config, "num_hidden_layers"):
        raise InputError(
            f"{type(model).__name__} keeps its layers in another way: name a model that is small already"
        )
    if layers > len(there):
        raise InputError(f"{layers} layers of {model.config._name_or_path}, which has {len(there)}: ask for fewer")
    stay = kept(layers, len(there))
    backbone.layers = torch.nn.ModuleList(there[i] for i in stay)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[i] for i in stay]
