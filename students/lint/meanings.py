"""What each finding of the lint means: its consequence with a source, and what to do about it.

    MEANINGS["duplicates"].ignored

Those about templates, masks and tokens are in `meanings_tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping

from stillroom.students.lint.meaning import RANGE, TRL, Meaning
from stillroom.students.lint.meanings_tokens import MASKS, TEMPLATE, TOKENS

_DPO = "Rafailov et al. 2023, https://arxiv.org/abs/2305.18290"
_LEAKS = "Brown et al. 2020, appendix C, https://arxiv.org/abs/2005.14165"
_REPEATS = "Lee et al. 2021, https://arxiv.org/abs/2107.06499"

DATA: Mapping[str, Meaning] = {
    "nothing_left": Meaning(
        "rows, none of which can be trained on",
        "error",
        "the training cannot begin",
        "by reasoning",
        "see the other findings: they say why each was left out",
    ),
    "not_a_row": Meaning(
        "rows that are no conversation of prompt and answer",
        "error",
        "the training cannot begin",
        "by reasoning",
        "give `prompt` and `completion` (or `chosen` and `rejected`) as lists of messages with role and content",
    ),
    "empty_answer": Meaning(
        "rows with an empty answer",
        "error",
        "the student learns to answer nothing; in a trainer that divides by the length the loss is no number",
        f"{TRL}/issues/6548 and {TRL}/issues/3339",
        "leave them out; see whether a filter or a template took the text away",
    ),
    "too_long": Meaning(
        "rows that are left out because they are longer than max_length",
        "warning",
        "the student sees the short rows only: the easy tasks, mostly, and little of the long reasoning",
        f"by reasoning; what happens where they are cut instead: {TRL}/issues/3927",
        "raise `student.max_length`, or lower the filter's max_tokens so that nothing is paid for in vain",
    ),
    "test_leak": Meaning(
        "rows whose prompt is held out for tests",
        "error",
        "what is measured on the held-out tasks is what was learned by heart",
        _LEAKS,
        "take these tasks out of one of the two sides; the filter `decontaminate: test` does",
    ),
    "test_leak_near": Meaning(
        "rows that hold a held-out task, or a long run of its words",
        "warning",
        "results on these tasks may be too good",
        _LEAKS,
        "look at the examples; the filter `decontaminate: test` leaves them out",
    ),
    "duplicates": Meaning(
        "rows that say what an earlier row says",
        "warning",
        "they weigh more than the rest, and are learned by heart",
        _REPEATS,
        "leave repeats out: the filter `dedup`",
    ),
    "answer_rejected": Meaning(
        "rows whose trained answer the checker rejects",
        "error",
        "the student is trained on wrong answers that count as checked",
        "by reasoning: what is checked here is the text under the labels, after template and tokenizer",
        "see what changed since the attempt was accepted: the reference, the checker, or the text itself",
    ),
    "answer_unscored": Meaning(
        "rows whose trained answer the checker cannot read",
        "warning",
        "nothing is known of them: they are not wrong, and not checked either",
        "by reasoning",
        "look at the examples: does the template still write what the checker reads?",
    ),
}

PAIRS: Mapping[str, Meaning] = {
    "prompts_differ": Meaning(
        "pairs whose sides do not have the same prompt, token by token",
        "error",
        "the likelihoods of two answers to two prompts are compared: the loss means nothing",
        f"follows from the loss: {_DPO}",
        "use a chat template that does not look ahead at the answer",
    ),
    "identical_sides": Meaning(
        "pairs that are left out because both answers are the same tokens",
        "warning",
        "they have no gradient, and would take the place of pairs that teach",
        f"follows from the loss: {_DPO}",
        "merge equal candidates before judging",
    ),
    "not_dpo": Meaning(
        "settings that are not for pairs",
        "error",
        "the training cannot begin: without `dpo` there is no reference either",
        f"follows from the loss: {_DPO}",
        "set `student.method: dpo`",
    ),
    "reference_is_dpo": Meaning(
        "references that preferences have moved already",
        "warning",
        "beta holds the student near what it is now, not near the model it was: the distance adds up unseen",
        f"the reference is the model before preferences: {_DPO}",
        "train on all pairs at once from the first model, or watch what is forgotten",
    ),
    "reference_off_policy": Meaning(
        "pairs with no side of the student's own, and a reference that never saw such answers",
        "warning",
        "answers are raised and lowered that the student would not give: it learns more slowly, and generalises less",
        f"{_DPO}, section 4: where there is no such reference, train on the chosen answers first; and Tajwar et al. "
        "2024, https://arxiv.org/abs/2404.14367",
        "set `student.dpo.sft_first: true`, or add the student as a source of candidates",
    ),
}

TEACHERS: Mapping[str, Meaning] = {
    "other_tokenizer": Meaning(
        "tokens that teacher and student do not share under the same id",
        "error",
        "the teacher reads other text than the student wrote, and its probabilities are of other tokens",
        f"{TRL}/issues/4562",
        "choose a teacher of the student's own family, or a method that compares texts",
    ),
    "ids_out_of_range": Meaning(
        "tokens of the student that the teacher has no logit for",
        "error",
        "the training dies with an index error, on a GPU with an assertion that names neither row nor token",
        RANGE,
        "choose a teacher of the student's own family",
    ),
    "logits_width": Meaning(
        "teachers whose logits are wider or narrower than the student's, with the same tokens",
        "error",
        "trl refuses them; where nobody does, the padding of the vocabulary is compared with tokens, or fails",
        f"{TRL}/issues/3028 (151,936 against 152,064) and {TRL}/pull/6252",
        "cut the logits of both to the ids that are tokens, or choose a teacher of the same vocab_size",
    ),
}

MEANINGS: Mapping[str, Meaning] = {**TEMPLATE, **MASKS, **TOKENS, **DATA, **PAIRS, **TEACHERS}
"""All of them, by name: of one severity, in the order in which they are told."""
