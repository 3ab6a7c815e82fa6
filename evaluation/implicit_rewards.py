"""Does a student prefer the chosen answers of pairs it has not seen? Implicit rewards, with controls.

    found = implicit_rewards(trained.model, "embedded:smollm2-135m-instruct", held_out, beta=0.1)
    found.accuracy                     # Interval(value=0.84, low=0.71, high=0.92, n=50)

The implicit reward of an answer is β·(log π − log π_ref) (Rafailov et al. 2023, arXiv:2305.18290, section 4); a pair
is right where the chosen answer has the higher one. Before training every margin is 0, a tie, which counts half: 0.5
by definition. The measured controls: how often the base alone finds the chosen answer likelier, and how often the
shorter answer is the chosen one. Pairs that `encode_pairs` leaves out are left out here, and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.common.models.resolve import load_model, load_tokenizer, pick_device
from stillroom.common.stats.intervals import Interval, mean_interval, wilson_in_part
from stillroom.errors import TrainingError
from stillroom.evaluation.results import AFTER, BEFORE, Result, result_of
from stillroom.students.data.encode import IGNORED, EncodedPair, encode_pairs
from stillroom.students.data.rows import Row, read_pairs, with_system
from stillroom.students.methods.cpu_passes import can_flatten, pair_logprobs
from stillroom.students.records import LeftOut


class ScoredPair(NamedTuple):
    """A pair under both models: log-probabilities of the whole answers, in nats, and their lengths in tokens, each
    with the end token."""

    name: str
    chosen: float
    rejected: float
    base_chosen: float
    base_rejected: float
    chosen_tokens: int
    rejected_tokens: int


class PairMeasures(NamedTuple):
    """What the pairs show; shares are of all pairs, ties count half.

    `accuracy`, `margin`: of the implicit rewards (margin: chosen minus rejected). `accuracy_per_token`,
    `margin_per_token`: with log-ratios divided by the answer's tokens, so that length has no part in them.
    `base_likelier`: the base finds the chosen answer likelier, and per token. `shorter_chosen`: the shorter answer is
    the chosen one; 1 minus it is what "longer wins" gets. `ties`: margins of exactly 0.
    """

    accuracy: Interval
    margin: Interval
    accuracy_per_token: Interval
    margin_per_token: Interval
    base_likelier: Interval
    base_likelier_per_token: Interval
    shorter_chosen: Interval
    ties: int
    left_out: tuple[LeftOut, ...] = ()

    def results(self) -> list[Result]:
        """As rows of `eval.json`: the student's, then the controls'."""
        return [
            result_of(AFTER, "implicit_reward_accuracy", self.accuracy),
            result_of(AFTER, "implicit_reward_margin", self.margin),
            result_of(AFTER, "implicit_reward_accuracy_per_token", self.accuracy_per_token),
            result_of(AFTER, "implicit_reward_margin_per_token", self.margin_per_token),
            result_of(BEFORE, "likelihood_accuracy", self.base_likelier),
            result_of(BEFORE, "likelihood_accuracy_per_token", self.base_likelier_per_token),
            result_of("shorter_wins", "pair_accuracy", self.shorter_chosen),
        ]


def implicit_rewards(
    student: Path | str,
    base: str,
    pairs: Path | str | Iterable[Row],
    *,
    beta: float = 0.1,
    system: str | None = None,
    max_length: int = 2048,
    batch_size: int = 4,
    dtype: str = "float32",
) -> PairMeasures:
    """Scores the pairs under the student (a folder: adapter or merged) and its base, one after the other.

    `beta`, `system`, `max_length`: as in the student's settings. `dtype`: float32, because a margin is a small
    difference of large sums. Raises InputError for pairs or models that cannot be used, TrainingError for NaN.
    """
    rows = [row._replace(prompt=with_system(row.prompt, system)) for row in read_pairs(pairs)]
    encoded = encode_pairs(rows, load_tokenizer(base), max_length)
    before = _under(base, encoded.rows, batch_size, dtype)
    after = _under(str(student), encoded.rows, batch_size, dtype)
    scored = [
        ScoredPair(pair.name, *after[i], *before[i], len(pair.chosen_ids), len(pair.rejected_ids))
        for i, pair in enumerate(encoded.rows)
    ]
    return measure_pairs(scored, beta)._replace(left_out=encoded.left_out)


def measure_pairs(pairs: Sequence[ScoredPair], beta: float) -> PairMeasures:
    """The measures of pairs that are scored. Raises ValueError for none, or a β that is not above 0."""
    if not pairs or beta <= 0:
        raise ValueError(f"{len(pairs)} pairs and beta = {beta}: give at least one pair, and a beta above 0")
    margins = [beta * ((p.chosen - p.base_chosen) - (p.rejected - p.base_rejected)) for p in pairs]
    per_token = [
        beta * ((p.chosen - p.base_chosen) / p.chosen_tokens - (p.rejected - p.base_rejected) / p.rejected_tokens)
        for p in pairs
    ]
    base_per_token = [p.base_chosen / p.chosen_tokens - p.base_rejected / p.rejected_tokens for p in pairs]
    return PairMeasures(
        accuracy=share_above(margins),
        margin=mean_interval(margins),
        accuracy_per_token=share_above(per_token),
        margin_per_token=mean_interval(per_token),
        base_likelier=share_above([p.base_chosen - p.base_rejected for p in pairs]),
        base_likelier_per_token=share_above(base_per_token),
        shorter_chosen=share_above([p.rejected_tokens - p.chosen_tokens for p in pairs]),
        ties=sum(margin == 0 for margin in margins),
    )


def share_above(differences: Sequence[float]) -> Interval:
    """Share of differences above 0, those at 0 counted half. Raises ValueError for none."""
    return wilson_in_part(sum((d > 0) + 0.5 * (d == 0) for d in differences), len(differences))


def _under(model_name: str, pairs: Sequence[EncodedPair], batch_size: int, dtype: str) -> list[tuple[float, float]]:
    """Log-probabilities of chosen and rejected under a model, which is freed again."""
    import torch

    device = pick_device()
    model = load_model(model_name, dtype, device)
    found = [(0.0, 0.0)] * len(pairs)
    order = sorted(range(len(pairs)), key=lambda i: pairs[i].longest, reverse=True)
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            part = order[start : start + batch_size]
            sums = answer_logprobs(model, [pairs[i] for i in part], device)
            if not bool(torch.isfinite(sums).all()):
                raise TrainingError(
                    f"{model_name} gives log-probabilities that are not numbers, for one of "
                    f"{', '.join(pairs[i].name for i in part)}: its training has diverged"
                )
            for i, chosen, rejected in zip(part, *sums.chunk(2), strict=True):
                found[i] = (float(chosen), float(rejected))
    return found


def answer_logprobs(model: Any, pairs: Sequence[EncodedPair], device: str) -> Any:
    """Summed log-probabilities (2 B,) of the answers, end token included: all chosen, then all rejected."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    sides = [pair.side("chosen") for pair in pairs] + [pair.side("rejected") for pair in pairs]
    rows, trained = [torch.tensor(side.input_ids) for side in sides], [torch.tensor(side.labels) for side in sides]
    # Each (2 B, T), padded on the right.
    ids = pad_sequence(rows, batch_first=True).to(device)
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True).to(device)
    labels = pad_sequence(trained, batch_first=True, padding_value=IGNORED).to(device)
    if can_flatten(model.config):
        return pair_logprobs(model, ids, mask, labels).double().sum(1)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]  # (2 B, T - 1, V)
    losses = torch.nn.functional.cross_entropy(
        logits.float().transpose(1, 2), labels[:, 1:], ignore_index=IGNORED, reduction="none"
    )
    return -losses.double().sum(1)
