"""Keys and values of the rows of a batch, preallocated, and the attention that reads them.

A row's context is in two parts: the leading `shared` positions are read from the trunk, a prompt prefix that is
kept once for all rows, and the rest from the row's own slot. Attention computes the scores of both parts and takes
one softmax over them, so the result is that of an unshared prefix, up to rounding, while the trunk is read once a
step for all rows and not once a row (Hydragen, https://arxiv.org/abs/2402.05099, which combines two softmaxes
where we concatenate the scores).

It never repeats keys for grouped queries, which on a CPU costs more than the attention itself: the queries of a
group are folded into the rows of one matrix product.

Axes: R rows, N new tokens of a row, H key heads, G queries per key head, D head size, P trunk, L own length.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from stillroom.errors import InputError

if TYPE_CHECKING:
    import torch

ATTENTION = "stillroom_slots"
GROWTH = 128  # positions a slot grows by at least
MASKED = -1e30  # not -inf: a row of nothing else would give NaN


class Layer(NamedTuple):
    """Keys and values of one layer: (R, H, L, D) in slots, (H, P, D) in the trunk."""

    keys: torch.Tensor
    values: torch.Tensor


@dataclass(slots=True)
class SlotCache:
    """The slots of all layers. Layers appear when first written, as only the model knows their shapes."""

    slots: int
    capacity: int = GROWTH
    layers: dict[int, Layer] = field(default_factory=dict)
    trunk: dict[int, Layer] = field(default_factory=dict)

    def reserve(self, length: int) -> None:
        """Makes every slot at least `length` positions long."""
        if length <= self.capacity:
            return
        self.capacity = max(length, self.capacity + max(GROWTH, self.capacity // 2))
        for index, layer in self.layers.items():
            parts = []
            for part in layer:
                grown = part.new_zeros((self.slots, part.shape[1], self.capacity, part.shape[3]))
                grown[:, :, : part.shape[2]] = part
                parts.append(grown)
            self.layers[index] = Layer(*parts)

    def write(self, index: int, keys: torch.Tensor, values: torch.Tensor, step: Step) -> Layer:
        """Puts the new tokens' keys and values, each (1, H, T, D), where the step says; returns the layer."""
        if index not in self.layers:
            shapes = [(self.slots, part.shape[1], self.capacity, part.shape[3]) for part in (keys, values)]
            self.layers[index] = Layer(*(keys.new_zeros(shape) for shape in shapes))
        layer = self.layers[index]
        layer.keys[step.slots, :, step.positions] = keys[0].transpose(0, 1)
        layer.values[step.slots, :, step.positions] = values[0].transpose(0, 1)
        return layer

    def copy(self, source: int, first: int, count: int, target: int) -> None:
        """Copies `count` positions of slot `source` from `first` on to the start of slot `target`."""
        for layer in self.layers.values():
            for part in layer:
                part[target, :, :count] = part[source, :, first : first + count].clone()

    def swap(self, one: int, other: int, length: int) -> None:
        """Swaps the first `length` positions of two slots."""
        for layer in self.layers.values():
            for part in layer:
                kept = part[one, :, :length].clone()
                part[one, :, :length] = part[other, :, :length]
                part[other, :, :length] = kept

    def unshare(self, slot: int, shared: int, own: int) -> None:
        """Puts the trunk's first `shared` positions before the `own` positions of a slot."""
        self.reserve(shared + own)
        for index, layer in self.layers.items():
            for part, trunk in zip(layer, self.trunk[index], strict=True):
                part[slot, :, shared : shared + own] = part[slot, :, :own].clone()
                part[slot, :, :shared] = trunk[:, :shared]

    def promote(self, slot: int, length: int) -> None:
        """Makes the first `length` positions of a slot the trunk."""
        for index, layer in self.layers.items():
            self.trunk[index] = Layer(*(part[slot, :, :length].clone() for part in layer))


@dataclass(slots=True)
class Group:
    """Rows with the same number N of new tokens, padded where they have fewer, that attend in one go.

    `rows`: their slots, (R,), or None for the first R slots, which are then read without a copy. `tokens`: (R, N)
    indexes into the step's tokens, padded with a token of the same row. `query_at`: (R, N) absolute positions.
    `key_at`: (R, P + L) absolute positions, `there`: (R, P + L) which of these the row has. `real`: the pairs of
    (R, N) that are not padding, or None for all.
    """

    rows: torch.Tensor | None
    tokens: torch.Tensor
    query_at: torch.Tensor
    key_at: torch.Tensor
    there: torch.Tensor
    own: int
    real: torch.Tensor | None = None
    biases: dict[int | None, torch.Tensor] = field(default_factory=dict)

    def bias(self, window: int | None) -> torch.Tensor:
        """(R, 1, 1, N, P + L): 0 where a query sees a key, else MASKED. `window`: positions seen back, or None."""
        import torch

        if window not in self.biases:
            distance = self.query_at[:, :, None] - self.key_at[:, None, :]
            seen = (distance >= 0) & self.there[:, None, :]
            if window is not None:
                seen &= distance < window
            bias = seen.new_zeros(seen.shape, dtype=torch.float32).masked_fill_(~seen, MASKED)
            self.biases[window] = bias[:, None, None]
        return self.biases[window]


@dataclass(slots=True)
class Step:
    """All that one forward pass tells its attention layers. `slots`, `positions`, both (T,): where each of the T new
    tokens is kept, its slot and its position in the slot."""

    cache: SlotCache
    slots: torch.Tensor
    positions: torch.Tensor
    groups: list[Group]


def slot_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    step: Step | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The attention function that transformers calls. Shapes: query (1, H·G, T, D), key and value (1, H, T, D).

    Raises InputError for a model whose attention needs what is not done here (sinks, a position bias).
    """
    refused = [name for name in ("s_aux", "position_bias") if kwargs.get(name) is not None]
    if step is None or refused:
        raise InputError(
            f"this model's attention ({', '.join(refused) or 'no step'}) is not supported: use kind: vllm"
        )
    layer = step.cache.write(module.layer_idx, key, value, step)
    trunk = step.cache.trunk.get(module.layer_idx)
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    queries = query[0].transpose(0, 1)  # (T, H·G, D)
    out = queries.new_empty((queries.shape[0], queries.shape[1], value.shape[-1]))
    for group in step.groups:
        if group.rows is not None:
            keys, values = (part[group.rows, :, : group.own] for part in layer)
        else:
            keys, values = (part[: group.tokens.shape[0], :, : group.own] for part in layer)
            # Measured on a CPU: copying and then multiplying takes under half the time of multiplying what is not
            # contiguous.
            if keys.device.type == "cpu":
                keys, values = keys.contiguous(), values.contiguous()
        answer = _attend(queries[group.tokens] * scale, keys, values, trunk, group.bias(sliding_window), softcap)
        if group.real is None:
            out[group.tokens.flatten()] = answer.flatten(0, 1)
        else:
            out[group.tokens[group.real]] = answer[group.real]
    return out[None], None


def _attend(
    queries: torch.Tensor,  # (R, N, H·G, D), scaled
    keys: torch.Tensor,  # (R, H, L, D)
    values: torch.Tensor,
    trunk: Layer | None,  # (H, P, D)
    bias: torch.Tensor,  # (R, 1, 1, N, P + L)
    softcap: float | None,
) -> torch.Tensor:  # (R, N, H·G, D)
    import torch

    R, N, _, D = queries.shape
    H = keys.shape[1]
    folded = queries.view(R, N, H, -1, D).permute(0, 2, 3, 1, 4)  # (R, H, G, N, D)
    G = folded.shape[2]
    rows = folded.reshape(R, H, G * N, D)
    scores = torch.matmul(rows, keys.transpose(-1, -2))
    if trunk is not None:
        every = rows.transpose(0, 1).reshape(H, R * G * N, D)
        shared = torch.matmul(every, trunk.keys.transpose(-1, -2)).view(H, R, G * N, -1).transpose(0, 1)
        scores = torch.cat([shared, scores], dim=-1)
    scores = scores.float()
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    weights = (scores.view(R, H, G, N, -1) + bias).softmax(-1).to(values.dtype).view(R, H, G * N, -1)
    if trunk is None:
        out = torch.matmul(weights, values)
    else:
        P = trunk.keys.shape[1]
        every = weights[..., :P].transpose(0, 1).reshape(H, R * G * N, P)
        out = torch.matmul(every, trunk.values).view(H, R, G * N, -1).transpose(0, 1)
        out = out + torch.matmul(weights[..., P:], values)
    return out.view(R, H, G, N, -1).permute(0, 3, 1, 2, 4).reshape(R, N, H * G, -1)
