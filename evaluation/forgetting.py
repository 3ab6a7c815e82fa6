"""What a student forgot: from its answers and losses before and after to rows and comparisons of `eval.json`.

forgetting_results(found, after="student_after", before="student_before", seed=0).results
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from stillroom.common.stats.bootstrap import ratio_over_tasks
from stillroom.common.stats.intervals import wilson
from stillroom.evaluation.comparisons import compare_right
from stillroom.evaluation.perplexity import TextLoss, exp_of_all, of_losses
from stillroom.evaluation.results import PERPLEXITY_RATIO, Measured, Result, result_of


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Of one model. `right`: by the name of the tasks and then task id, whether the answer was right; what cannot be
    read is not. `counts`: by the name of the tasks, how the answers were scored: `accepted`, `rejected`, `unscored`,
    and `missing` for tasks without one. `losses`: by text; empty where none is read."""

    right: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    losses: Mapping[str, TextLoss] = field(default_factory=dict)
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        losses = {text: list(loss) for text, loss in self.losses.items()}
        right, counts = ({name: dict(of) for name, of in each.items()} for each in (self.right, self.counts))
        return {"right": right, "counts": counts, "losses": losses}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From what `as_dict` gave. Raises KeyError or TypeError for anything else."""
        losses = {text: TextLoss(*loss) for text, loss in data["losses"].items()}
        return cls({name: dict(of) for name, of in data["right"].items()}, losses, data["counts"])


def forgetting_results(by_who: Mapping[str, Forgotten], *, after: str, before: str, seed: int) -> Measured:
    """Rows of `eval.json`: `<name>_accuracy` of each kind of tasks, `perplexity` and `bits_per_byte` of each model,
    `perplexity_ratio` of `after` over `before` on the same texts (above 1: they have become less likely). Comparisons
    of the accuracies of the two, each with its `metric`.
    """
    names = dict.fromkeys(name for found in by_who.values() for name in found.right)
    rows = [row for name in names for who, found in by_who.items() for row in _accuracy(who, found, name)]
    notes = [
        f"{who}: {missing:,} of {sum(counts.values()):,} {name} tasks got no answer and are left out of n"
        for who, found in by_who.items()
        for name, counts in found.counts.items()
        if (missing := counts.get("missing", 0))
    ]
    parts = [Measured(rows, [], notes), *(_perplexity(who, found, seed) for who, found in by_who.items())]
    if after in by_who and before in by_who:
        compared = []
        for name in names:
            of_after, of_before = (by_who[who].right.get(name, {}) for who in (after, before))
            if (found := compare_right(after, of_after, before, of_before)) is not None:
                compared.append(found.model_copy(update={"metric": f"{name}_accuracy"}))
        parts += [Measured([], compared, []), _ratio(after, by_who[after], before, by_who[before], seed)]
    results, comparisons = [row for part in parts for row in part.results], [c for p in parts for c in p.comparisons]
    return Measured(results, comparisons, [note for part in parts for note in part.notes])


def _accuracy(who: str, found: Forgotten, name: str) -> Iterator[Result]:
    right = found.right.get(name)
    if right:
        share, counts = wilson(sum(right.values()), len(right)), dict(found.counts.get(name, {}))
        yield result_of(who, f"{name}_accuracy", share, counts=counts or None)


def _perplexity(who: str, found: Forgotten, seed: int) -> Measured:
    losses = [loss for loss in found.losses.values() if loss.tokens]
    short = len(found.losses) - len(losses)
    notes = [f"{who}: {short:,} of {len(found.losses):,} texts are too short for perplexity"] if short else []
    return Measured(of_losses(losses, left_out=short, seed=seed).results(who) if losses else [], [], notes)


def _ratio(after: str, of_after: Forgotten, before: str, of_before: Forgotten, seed: int) -> Measured:
    """exp of the difference in mean nats per token; texts are drawn with both their losses."""
    shared = [text for text in of_after.losses if text in of_before.losses and of_before.losses[text].tokens]
    pairs = {text: (of_after.losses[text], of_before.losses[text]) for text in shared}
    if any(a.tokens != b.tokens for a, b in pairs.values()):
        why = f"{after} and {before} read the texts in other tokens: only bits_per_byte can be compared"
        return Measured([], [], [why])
    ratios = {text: (a.nats - b.nats, b.tokens) for text, (a, b) in pairs.items()}
    found = ratio_over_tasks(ratios, seed=seed) if ratios else None
    if found is None:
        return Measured([], [], [])
    return Measured([result_of(after, PERPLEXITY_RATIO, exp_of_all(found), against=before)], [], [])
