"""One pass of a training, forward and backward, without numbers: what it allocates and what it computes.

    found = dry_pass(Shape(config, "bfloat16", lora=settings.lora), [Read(1, 512, labels=200, head="whole")])
    found.whole.peak, found.layers.flops       # bytes above the weights, floating point operations

The model is built from its configuration on torch's fake tensors, which have a shape, a type and no memory, and goes
through the code that trains it: transformers' layers, peft's adapters, our heads and trl's. So what autograd keeps is
counted, not guessed from a formula, whatever the family. Of a deep model whose layers are all alike, a few are run,
and their difference stands for each of the others.

It does not know what an allocator adds, nor what a library holds for itself, and refuses (`CannotTell`) models whose
forward pass depends on the values, such as mixtures of experts.
"""

from __future__ import annotations

import copy
import logging
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, Literal, NamedTuple

from stillroom.common.models.quiet import quiet_transformers
from stillroom.students.methods.cpu_passes import scored
from stillroom.students.methods.registry import LoraSettings
from stillroom.students.methods.trainer import lora_config, unwrapped
from stillroom.students.whitebox.loss import MOST_LOGITS
from stillroom.students.whitebox.parts import in_parts

FEW = (2, 6, 12)
"""Layers that are run in place of a deep model, with one more the next time; the later ones only where they must."""
TILE = (4096, 32768)
"""Tokens and vocabulary of the one buffer that trl's head has on a GPU."""

Head = Literal["whole", "scored", "trl", "tiles", "parts", "none"]
"""How logits come about. `whole`: all at once; `scored`: our log-probabilities, in parts; `trl`: trl's way on a CPU;
`tiles`: trl's on a GPU; `parts`: the white-box loss, with its gradient part by part; `none`: not at all."""


class CannotTell(Exception):
    """A model of which a pass cannot be run without numbers; says why."""


class Read(NamedTuple):
    """A forward pass over `rows` of `width` tokens, padding included, of which `labels` predict a token that counts.
    `sides`: models whose logits are looked at together, the student's included. `trained`: with a gradient."""

    rows: int
    width: int
    labels: int
    head: Head
    sides: int = 1
    trained: bool = True

    @property
    def tokens(self) -> int:
        """With padding."""
        return self.rows * self.width


class Shape(NamedTuple):
    """A model and how it is trained. `config`: transformers' own; `dtype`: of its weights; `autocast`: it computes in
    bfloat16 whatever they are; `lora`: None where all weights are trained. `recompute`: activations are computed
    again for the backward pass. `accumulates`: gradients of an earlier pass are there."""

    config: Any
    dtype: str
    autocast: bool = False
    lora: LoraSettings | None = None
    recompute: bool = False
    accumulates: bool = False


class Cost(NamedTuple):
    """Of one pass. `weights`: bytes of all weights; `trained`: how many numbers are trained; `kept`: bytes that are
    kept between forward and backward pass; `peak`: most bytes above the weights, gradients included. `flops`: of
    matrix products; `moved`: bytes that all other operations write; `calls`: operations."""

    weights: float
    trained: float
    kept: float
    peak: float
    flops: float
    moved: float
    calls: float

    def to(self, other: Cost, steps: int) -> Cost:
        """One of `steps` equal steps from here to `other`."""
        return Cost(*((b - a) / steps for a, b in zip(self, other, strict=True)))

    def plus(self, step: Cost, steps: int) -> Cost:
        """After `steps` more steps."""
        return Cost(*(a + b * steps for a, b in zip(self, step, strict=True)))


class Costs(NamedTuple):
    """`whole`: of a pass; `layers`: what of it all layers take, without embedding and head."""

    whole: Cost
    layers: Cost

    @property
    def rest(self) -> Cost:
        """Without the layers."""
        return Cost(*(a - b for a, b in zip(self.whole, self.layers, strict=True)))


def dry_pass(shape: Shape, reads: Sequence[Read]) -> Costs:
    """Runs all reads and, where one is trained, the backward pass of their sum. Raises CannotTell."""
    text = shape.config.get_text_config()
    if (getattr(text, "num_experts", None) or getattr(text, "num_local_experts", None) or 1) > 1:
        raise CannotTell("which experts a token takes is not known before")
    layers = int(text.num_hidden_layers)
    # Where whole layers are trained and computed again, the peak grows by what a layer keeps and by its gradients, at
    # different depths.
    alike = len(set(getattr(text, "layer_types", None) or ())) <= 1 and (
        shape.lora is not None or not shape.recompute
    )
    for few in FEW if alike else ():
        if few + 1 >= layers:
            break
        less, more = (_run(shape, n, reads) for n in (few, few + 1))
        each = less.to(more, 1)
        # Where the peak is moves with the depth, from the head to the layers' activations or gradients; from there on
        # it grows by what a layer keeps, or by its gradients.
        if each.peak >= 0.98 * max(each.kept, 4 * each.trained * any(read.trained for read in reads)):
            return Costs(less.plus(each, layers - few), Cost(*[0.0] * 7).plus(each, layers))
    whole, one = _run(shape, layers, reads), _run(shape, 1, reads)
    each = one.to(whole, max(1, layers - 1))
    return Costs(whole, Cost(*[0.0] * 7).plus(each, layers))


@contextmanager
def _quiet() -> Iterator[Any]:
    """The transformers module, without a word of anybody about a model that cannot be run without numbers."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with quiet_transformers() as transformers, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield transformers
    finally:
        logger.setLevel(level)


def _run(shape: Shape, layers: int, reads: Sequence[Read]) -> Cost:
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    try:
        with _quiet() as transformers, torch.random.fork_rng(devices=[]):
            model = on_meta(transformers, shape, layers)
            with FakeTensorMode():
                plain = filled(model, shape, lambda like: torch.empty(like.shape, dtype=like.dtype))
                with _counter() as counted:
                    for _ in range(2 if shape.accumulates else 1):
                        losses = forward(plain, shape, reads)
                        kept = float(counted.now)
                        backward(losses)
    except Exception as error:  # whatever a family does that cannot be done without numbers
        raise CannotTell(f"{type(error).__name__}: {error}") from error
    weights = list(model.parameters())  # each once, tied ones included
    passes = 2 if shape.accumulates else 1
    return Cost(
        weights=sum(weight.numel() * weight.element_size() for weight in weights),
        trained=sum(weight.numel() for weight in weights if weight.requires_grad),
        kept=kept,
        peak=counted.peak,
        flops=counted.flops / passes,
        moved=counted.moved / passes,
        calls=counted.calls / passes,
    )


def forward(model: Any, shape: Shape, reads: Sequence[Read], device: str = "cpu") -> list[Any]:
    """The loss of each read. `model`: the causal language model itself."""
    import torch

    with torch.autocast(device, torch.bfloat16) if shape.autocast else nullcontext():
        return [_read(model, read) for read in reads]


def backward(losses: list[Any]) -> None:
    """Of those that have a gradient; empties the list, as a trainer lets go of them."""
    import torch

    trained = [loss for loss in losses if loss.requires_grad]
    losses.clear()
    if trained:
        torch.stack(trained).sum().backward()


def on_meta(transformers: Any, shape: Shape, layers: int) -> Any:
    """The model with its adapter, of some of its layers; no weight of it is there."""
    import torch

    config = copy.deepcopy(shape.config)
    config.get_text_config().num_hidden_layers = layers
    if getattr(config.get_text_config(), "layer_types", None):
        config.get_text_config().layer_types = config.get_text_config().layer_types[:layers]
    if "flash" in (attention := config._attn_implementation or "sdpa"):
        config._attn_implementation = attention = "sdpa"  # keeps as much, and needs no GPU
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, shape.dtype), attn_implementation=attention
        )
        if shape.lora is not None:
            import peft

            model = peft.get_peft_model(model, lora_config(shape.lora, config))
    return model.train()


def filled(model: Any, shape: Shape, make: Callable[[Any], Any]) -> Any:
    """The causal language model itself, with what `make` makes in the place of each weight and buffer."""
    import torch

    made: dict[int, Any] = {}
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                if id(weight) not in made:
                    made[id(weight)] = torch.nn.Parameter(make(weight), requires_grad=weight.requires_grad)
                module._parameters[name] = made[id(weight)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = make(buffer)
    plain = unwrapped(model)
    if shape.recompute:
        plain.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return plain


def _read(model: Any, read: Read) -> Any:
    """The loss of a read: a scalar."""
    import torch

    with ExitStack() as stack:
        if not read.trained:
            stack.enter_context(torch.no_grad())
        ids = torch.zeros(read.rows, read.width, dtype=torch.long)
        if read.head == "trl":
            from trl.trainer.utils import add_fused_lm_head

            add_fused_lm_head(model)
            return -model(input_ids=ids, labels=ids, fused_lm_head=True).log_probs.sum()
        sees = torch.ones(read.rows, 1, read.width, read.width, dtype=torch.bool)
        at = torch.zeros(read.rows, read.width, dtype=torch.long)
        states = model.base_model(input_ids=ids, position_ids=at, attention_mask=sees, use_cache=False)
        hidden = states.last_hidden_state.reshape(read.tokens, -1)[: read.labels]  # (L, H)
        return _loss(model, read, hidden)


def _loss(model: Any, read: Read, hidden: Any) -> Any:
    import torch

    if read.head == "none":
        return hidden.sum()
    if read.head == "tiles":
        return _in_tiles(model.get_output_embeddings().weight, hidden)
    head, tokens = model.get_output_embeddings(), torch.zeros(len(hidden), dtype=torch.long)
    if read.head == "scored":
        return -scored(model, hidden, tokens).sum()
    if read.head == "whole":
        return torch.nn.functional.cross_entropy(head(hidden).float(), tokens, reduction="sum")
    others = [torch.empty_like(hidden) for _ in range(read.sides - 1)]

    def summed(part: Any, at: slice) -> Any:
        own = head(part).float()
        losses = [torch.nn.functional.cross_entropy(own, tokens[at], reduction="sum")]
        for other in others:
            target = torch.softmax(head(other[at]).float() / 2, -1)
            losses.append(torch.nn.functional.kl_div(torch.log_softmax(own / 2, -1), target, reduction="sum"))
        return torch.stack(losses)

    size = max(1, MOST_LOGITS // (head.weight.shape[0] * read.sides))
    return in_parts(summed, [1.0] * read.sides, hidden, list(head.parameters()), size).total


def _in_tiles(weight: Any, hidden: Any) -> Any:
    """What trl's kernels allocate and compute: three products of each tile, in one buffer."""
    import torch

    with torch.no_grad():
        buffer = hidden.new_empty(min(len(hidden), TILE[0]), TILE[1])
        for start in range(0, len(hidden), TILE[0]):
            part = hidden[start : start + TILE[0]]
            for first in range(0, len(weight), TILE[1]):
                tile = weight[first : first + TILE[1]].to(hidden.dtype)
                for _ in range(3):
                    torch.mm(part, tile.t(), out=buffer[: len(part), : len(tile)])
    return hidden.float().sum()


def _is_view(func: Any) -> bool:
    """Whether an operation only looks at its input in another way."""
    return any(result.alias_info is not None and not result.alias_info.is_write for result in func._schema.returns)


def _attention(args: Sequence[Any], *, backward: bool) -> int:
    """Operations of attention over queries and keys (B, heads, T, D): two products, and five in the backward pass."""
    query, key = args[1:3] if backward else args[:2]
    rows, heads, tokens, width = query.shape
    return int((5 if backward else 2) * 2 * rows * heads * tokens * key.shape[2] * width)


def _counter() -> Any:
    """Counts live bytes and their peak, matrix products, and bytes that other operations write."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import flop_registry

    class Counter(TorchDispatchMode):  # type: ignore[misc]  # torch is not followed
        def __init__(self) -> None:
            super().__init__()
            self.now = self.peak = self.moved = self.calls = self.flops = 0
            self._there = set[int]()

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = func(*args, **(kwargs or {}))
            self.calls += 1
            formula = flop_registry.get(func._overloadpacket)
            if formula is not None:
                self.flops += formula(*args, **(kwargs or {}), out_val=found)
            elif "flash_attention_for_cpu" in func._schema.name:  # of which torch has no formula
                self.flops += _attention(args, backward="backward" in func._schema.name)
            for tensor in tree_leaves(found):
                if isinstance(tensor, torch.Tensor):
                    self._seen(tensor.untyped_storage())
                    self.moved += (
                        tensor.numel() * tensor.element_size() if formula is None and not _is_view(func) else 0
                    )
            return found

        def _seen(self, storage: Any) -> None:
            key, size = storage._cdata, storage.nbytes()
            if key in self._there:
                return
            self._there.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, key, size)

        def _gone(self, key: int, size: int) -> None:
            self._there.discard(key)
            self.now -= size

    return Counter()
