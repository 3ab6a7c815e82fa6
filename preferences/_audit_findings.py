"""What a check of the audit finds, and what is said of it: the consequence with its source, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from stillroom.sampling.statistics import Interval

Severity = Literal["error", "warning"]


class Meaning(NamedTuple):
    """`title`: what is counted. `ignored`: what happens to a student that is trained all the same. `source`: where
    that is shown, or reasoned. `advice`: what to do."""

    title: str
    severity: Severity
    ignored: str
    source: str
    advice: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `count` of `of` pairs (or tasks, or candidates: the title says); `value`: what is held against
    `limit`, a share where not told otherwise, with its interval; None where it cannot be known. `broken`: the limit
    is exceeded. `examples`: ids of the first few. Intervals take pairs for independent: of several pairs of a prompt
    they are too narrow."""

    name: str
    count: int
    of: int
    value: float | None
    limit: float | None
    broken: bool
    examples: tuple[str, ...] = ()
    interval: Interval | None = None
    detail: str = ""

    @property
    def meaning(self) -> Meaning:
        """What it stands for."""
        return MEANINGS[self.name]

    @property
    def severity(self) -> Severity:
        """Whether a broken limit refuses the data set, or warns."""
        return self.meaning.severity

    @property
    def told(self) -> str:
        """What was found, in a few words."""
        if self.name == "no_pairs":
            value = f"{self.of:,} pairs"
        elif self.value is None:
            value = str(self.count) if self.of and self.limit is None else "not known"
        elif self.name == "length_gap":
            value = f"{self.value:+.2f}"
        else:
            value = f"{self.count:,} of {self.of:,} ({self.value:.1%})"
        return f"{value}: {self.detail}" if self.detail else value

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the numbers, then what they mean."""
        return {
            "name": self.name,
            "severity": self.severity,
            "broken": self.broken,
            "count": self.count,
            "of": self.of,
            "value": self.value,
            "interval": None if self.interval is None else self.interval._asdict(),
            "limit": self.limit,
            "detail": self.detail,
            "examples": list(self.examples),
            **{key: value for key, value in self.meaning._asdict().items() if key != "severity"},
        }


_DPO = "Rafailov et al. 2023, https://arxiv.org/abs/2305.18290"
_TIES = "Chen et al. 2024, https://arxiv.org/abs/2409.17431"
_NOISE = "Gao et al. 2024, https://arxiv.org/abs/2404.09824"
_LENGTH = "Park et al. 2024, https://arxiv.org/abs/2403.19159"
_SIMILAR = "Razin et al. 2024, https://arxiv.org/abs/2410.08847"
_ON_POLICY = "Tajwar et al. 2024, https://arxiv.org/abs/2404.14367"
_REPEATS = "Lee et al. 2021, https://arxiv.org/abs/2107.06499"
_LEAKS = "Brown et al. 2020, appendix C, https://arxiv.org/abs/2005.14165"
_REFUSALS = "Röttger et al. 2023, https://arxiv.org/abs/2308.01263"
_MISSING = "missing not at random: Rubin 1976, Inference and missing data, Biometrika 63, 581–592"
_BY_DEFINITION = f"follows from the loss: {_DPO}"

MEANINGS: Mapping[str, Meaning] = {
    "no_pairs": Meaning(
        "no pair at all",
        "error",
        "there is nothing to train on",
        _BY_DEFINITION,
        "see the reasons in what was left out: more candidates, another strategy, a wider length ratio",
    ),
    "empty_side": Meaning(
        "pairs with a side that is empty or white space",
        "error",
        "the student learns to answer nothing, or that anything beats nothing; where chosen is empty, the loss can "
        "become NaN",
        _BY_DEFINITION,
        "leave such answers out of the candidates",
    ),
    "identical_sides": Meaning(
        "pairs of equal sides (white space apart)",
        "error",
        "the pair has a constant loss and no gradient: it takes the place of a pair that teaches",
        _BY_DEFINITION,
        "merge equal candidates before judging",
    ),
    "prompts_differ": Meaning(
        "pairs whose sides answer different conversations",
        "error",
        "a better answer to another question is taught: the two sides were joined by position, or the data are mixed",
        _BY_DEFINITION,
        "join candidates by id",
    ),
    "not_better": Meaning(
        "pairs whose chosen side does not score higher",
        "error",
        "a tie teaches noise with full confidence, a reversed pair teaches the worse answer",
        _TIES,
        "leave ties out; check which score belongs to which side",
    ),
    "failed_side": Meaning(
        "pairs with a side whose judgement failed",
        "error",
        "a failure of the judge, which says nothing of the answer, is taught as a preference",
        _MISSING,
        "leave answers without a judgement out",
    ),
    "contradictions": Meaning(
        "pairs that stand there both ways round",
        "error",
        "each undoes the other: the label of one of them is wrong",
        _NOISE,
        "decide each pair of texts once; a noisy judge can be asked several times and averaged",
    ),
    "template_tokens": Meaning(
        "pairs with marks of a chat template inside a text",
        "error",
        "the tokenizer reads them as turns: the answer ends there, or the student learns to write the user's part",
        "tokenizers read special tokens wherever they stand: https://huggingface.co/docs/transformers/chat_templating",
        "leave such answers out of the candidates",
    ),
    "test_leak": Meaning(
        "pairs whose prompt is held out for tests",
        "error",
        "what is measured on the test prompts is what was trained, not what was learned",
        _LEAKS,
        "take these prompts out of one of the two sides",
    ),
    "test_leak_near": Meaning(
        "pairs whose prompt is nearly one that is held out",
        "warning",
        "results on these test prompts may be too good",
        _LEAKS,
        "look at the examples; take out what is the same task in other words",
    ),
    "near_identical": Meaning(
        "pairs whose sides are nearly the same",
        "warning",
        "sides alike push the likelihood of the chosen answer down together with the rejected one's, sometimes in "
        "favour of its opposite",
        _SIMILAR,
        "ask for a wider margin, or draw candidates that differ more (temperature, several sources)",
    ),
    "judge_ties": Meaning(
        "tasks that give no pair because all scores are equal",
        "warning",
        "the pairs come from the tasks that the judge can tell apart; the rest was paid for in vain",
        _TIES,
        "a judge with expected scores, a finer scale, or a pairwise judge",
    ),
    "judge_failures": Meaning(
        "candidates whose judgement failed",
        "warning",
        "failures can depend on what an answer says: what remains is a biased part of the candidates",
        _MISSING,
        "see the kinds of failure: raise max_tokens, shorten the rubric, allow structured output",
    ),
    "failures_gather": Meaning(
        "sources and lengths on which more judgements fail than on the rest",
        "warning",
        "answers of these sources or lengths are missing from the pairs: the student learns from the others only",
        _MISSING,
        "a judge with a longer context, or look at what it wrote on them",
    ),
    "length_gap": Meaning(
        "difference of the mean lengths, in standard deviations",
        "warning",
        "the student learns the length before it learns the quality, and goes beyond what was in the data",
        _LENGTH,
        "length: matched or residual; or a length-desensitised loss",
    ),
    "longer_chosen": Meaning(
        "pairs of unequal length whose longer side is chosen",
        "warning",
        "length alone predicts the label so often that a student can fit the pairs without reading them",
        _LENGTH,
        "length: matched or residual",
    ),
    "off_policy": Meaning(
        "pairs with no side of the student's own",
        "warning",
        "what is raised and lowered are answers that the student would not give: learning is slower and generalises "
        "less",
        _ON_POLICY,
        "add the student as a source of candidates, or train it on the chosen sides first (SFT)",
    ),
    "repeated_prompts": Meaning(
        "pairs whose prompt an earlier pair has",
        "warning",
        "few prompts weigh much: the student learns them by heart",
        _REPEATS,
        "lower per_task, or give more prompts",
    ),
    "repeated_pairs": Meaning(
        "pairs that stand there more than once",
        "warning",
        "they weigh more than the rest, and are learned by heart",
        _REPEATS,
        "leave repeats out",
    ),
    "both_roles": Meaning(
        "pairs of which a side is chosen here and rejected in another pair of the prompt",
        "warning",
        "middling answers are pushed both ways: harmless where scores decide, but much of the signal cancels",
        _BY_DEFINITION,
        "a higher margin, fewer pairs of a task, or best_worst",
    ),
    "refusals_chosen": Meaning(
        "pairs that prefer a refusal to an answer",
        "warning",
        "the student learns to decline, also what it should answer",
        _REFUSALS,
        "look at the examples: keep those to harmful prompts, leave the others out",
    ),
    "label_noise": Meaning(
        "labels that are expected to be wrong, from the judge's calibration",
        "warning",
        "ten points more wrong labels were seen to cost up to thirty points of win rate",
        _NOISE,
        "a better judge or several (jury), a higher margin, or a loss that expects noise (label smoothing)",
    ),
}
