"""The processes that train one student together, and what each of them does of a step.

    ranks = Ranks.here()                       # of the launcher's environment; one process without a launcher
    found = ranks.share(kept.last)             # rank 0 looks, all get what it found

Every process draws the same batch of the whole step and takes its own rows of it (`Share`). So the order of rows, and
which of them make a step, are those of one process with as many rows in a batch, and no row is trained on twice to
fill a last batch up. Rank 0 alone writes, tells and reports.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from stillroom.common.models.quiet import import_torch
from stillroom.errors import RecipeError
from stillroom.students.data.encode import IGNORED

T = TypeVar("T")
_Trainer: Any = object
SHARE = "share"
"""The key of a batch under which its `Shared` stands."""


class Ranks(NamedTuple):
    """`rank`: which process this is, from 0; `size`: how many there are."""

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> Ranks:
        """As torch's launcher says."""
        return cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))

    @property
    def main(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def share(self, find: Callable[[], T]) -> T:
        """What rank 0 found; the others wait for it."""
        if self.size == 1:
            return find()
        import torch.distributed as dist

        found = [find() if self.main else None]
        dist.broadcast_object_list(found)
        return found[0]  # type: ignore[return-value]  # what rank 0 put in

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            import torch.distributed as dist

            dist.barrier()

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Rank 0 does the block, then the others do."""
        if not self.main:
            self.wait()
        yield
        if self.main:
            self.wait()

    def summed(self, values: Sequence[float], device: Any) -> list[float]:
        """Each value, added up over all."""
        if self.size == 1:
            return list(values)
        import torch
        import torch.distributed as dist

        told = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(told)
        return [float(value) for value in told]

    def part(self, rows: int) -> slice:
        """Which of `rows` are this process's: as even as can be, the first processes have one more."""
        each, more = divmod(rows, self.size)
        start = self.rank * each + min(self.rank, more)
        return slice(start, start + each + (self.rank < more))


def enough_gpus(processes: int) -> None:
    """Raises RecipeError where the machine has GPUs, but not one for each."""
    if processes == 1:
        return
    gpus: int = import_torch().cuda.device_count()
    if 0 < gpus < processes:
        raise RecipeError(
            f"student.processes is {processes}, each on a GPU, and the number of GPUs here is {gpus}: set "
            f"student.processes to {gpus}, and multiply gradient_accumulation to have as many rows in a step"
        )


class Share:
    """A collator that makes a batch of this process's rows, from those of all. Under SHARE it says how many rows all
    have, and how many this one: of 0 it holds another's row, to keep step with the others, with nothing under
    labels."""

    def __init__(self, collate: Callable[[Any], Any], ranks: Ranks) -> None:
        self._collate, self._ranks = collate, ranks

    def __call__(self, rows: Sequence[Any]) -> Any:
        import torch

        mine = rows[self._ranks.part(len(rows))]
        batch = dict(self._collate(mine or rows[:1]))
        if not mine and "labels" in batch:
            batch["labels"] = batch["labels"].new_full(batch["labels"].shape, IGNORED)
        return batch | {SHARE: torch.tensor([len(rows), len(mine)])}


class Together(_Trainer):  # type: ignore[misc]  # stands before one of trl's trainers, which are loaded where used
    """A trainer that is one of several processes."""

    _tokens_told = 0
    _order: Any = None

    @property
    def ranks(self) -> Ranks:
        """Which of them this is."""
        return Ranks.here()

    def get_train_dataloader(self) -> Any:
        """One process's, with the rows of a batch of all; each takes its own from there."""
        if self.ranks.size == 1:
            return super().get_train_dataloader()
        from torch.utils.data import DataLoader

        dataset = self._remove_unused_columns(self.train_dataset, description="training")
        whole = getattr(self, "own", None) is not None  # a loss of our own takes its part of a step itself
        self._order = _seeded(self._get_train_sampler(dataset), self.args.data_seed)
        return DataLoader(
            dataset,
            batch_size=self._train_batch_size * self.ranks.size,
            sampler=self._order,
            collate_fn=self.data_collator if whole else Share(self.data_collator, self.ranks),
            num_workers=self.args.dataloader_num_workers,
        )

    def _get_train_sampler(self, *args: Any) -> Any:
        sampler = super()._get_train_sampler(*args)
        if self.ranks.size > 1 and type(sampler).__name__ == "LengthGroupedSampler":
            sampler.batch_size *= self.ranks.size
        return sampler

    def begin_together(self) -> None:
        """Rank 0's random numbers decide the order of an epoch for all."""
        if self.ranks.size > 1:
            import torch

            if hasattr(self._order, "set_epoch"):  # transformers loses it where an epoch is gone on with
                self._order.set_epoch(int(self.state.epoch))
            torch.random.set_rng_state(self.ranks.share(torch.random.get_rng_state))

    def step_together(self, due: bool) -> bool:
        """Counts the step's tokens over all, has all stop where one was asked to, and gives rank 0's `due`."""
        if self.ranks.size == 1:
            return due
        if (own := getattr(self, "own", None)) is not None:
            own.add_up(lambda values: self.ranks.summed(values, self.args.device))
        new, stopping = self.steps.tokens - self._tokens_told, self.kept is not None and self.kept.stopping
        told = self.ranks.summed([new, stopping, due and self.ranks.main], self.args.device)
        self._tokens_told += int(told[0])
        self.steps.tokens = self._tokens_told
        if self.kept is not None and told[1]:
            self.kept.stopping = True
        return bool(told[2]) or bool(told[1])

    def through(self, model: Any, loss: Callable[[], Any]) -> Any:
        """A loss that is not computed by the model's own forward pass: torch's wrapper of several processes has to
        see it, or the gradients would stay apart."""
        return loss() if self.ranks.size == 1 else model(own=loss)

    def count(self, inputs: Mapping[str, Any]) -> None:
        """Adds the tokens of a batch without padding; none of another's row. One without an attention mask is rows
        end to end."""
        share, mask = inputs.get(SHARE), inputs.get("attention_mask")
        if share is None or share[1]:
            self.steps.tokens += int(inputs["input_ids"].numel() if mask is None else mask.sum())

    def shared(self, inputs: dict[str, Any], loss: Callable[[], Any], *, mean: bool) -> Any:
        """The loss of this process's rows. `mean`: it is one over them, and becomes their part of the mean over the
        rows of all; else it is divided by what all have already."""
        share = inputs.pop(SHARE, None)
        found = loss()
        if share is None:
            return found
        rows, mine = share.tolist()
        if not mine:
            return self.nothing(found)
        return found * (mine * self.ranks.size / rows) if mean else found

    def nothing(self, loss: Any = 0.0) -> Any:
        """A loss that moves nothing, with a gradient for every trained weight: the others wait for them."""
        return 0.0 * loss + sum(0.0 * weight.sum() for weight in self.model.parameters() if weight.requires_grad)


def _seeded(sampler: Any, seed: int) -> Any:
    """The random order that accelerate draws in one process."""
    import torch
    from accelerate.data_loader import SeedableRandomSampler

    if not isinstance(sampler, torch.utils.data.RandomSampler):
        return sampler
    return SeedableRandomSampler(
        data_source=sampler.data_source,
        replacement=sampler.replacement,
        num_samples=sampler._num_samples,
        generator=torch.Generator(),
        data_seed=seed,
    )


def gather_uneven(accelerator: Any) -> None:
    """Has what trl tells of a step gathered from processes with different numbers of rows, as a last step has."""
    import torch
    from torch.nn.functional import pad

    plain = accelerator.gather

    def gather(tensor: Any) -> Any:
        if not isinstance(tensor, torch.Tensor) or tensor.dim() == 0:
            return plain(tensor)
        lengths = plain(torch.tensor([len(tensor)], device=tensor.device)).tolist()
        filled = pad(tensor, [0, 0] * (tensor.dim() - 1) + [0, max(lengths) - len(tensor)])
        parts = plain(filled).split(max(lengths))
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    accelerator.gather = gather


def take_losses(model: Any) -> None:
    """Has the model's forward pass compute a loss that it is handed (see `Together.through`)."""
    plain = model.forward

    def forward(*args: Any, own: Callable[[], Any] | None = None, **given: Any) -> Any:
        return plain(*args, **given) if own is None else own()

    model.forward = forward
