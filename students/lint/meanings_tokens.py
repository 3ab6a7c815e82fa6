"""What findings about templates, masks and tokens mean: consequence, source, advice.

MASKS["stop_not_in_loss"].ignored
"""

from __future__ import annotations

from collections.abc import Mapping

from stillroom.students.lint.meaning import CHAT, RANGE, TRL, Meaning

_STOP = f"{TRL}/pull/5988: the loss goes down, and it shows at inference only"
_NO_LABEL = f"{TRL}/issues/6668: the loss is reported as 0, and the run ends normally"
_CUT = f"{TRL}/issues/3927, and for pairs {TRL}/issues/3382"
_THINK = f"{TRL}/pull/6363: reasoning blocks corrupted by training templates"
_BOS = f"{TRL}/issues/1400 and {TRL}/pull/3328: two of them in every row"
_PAD = f"{TRL}/pull/6357: with pad equal to EOS, masks by id take the EOS too"
_WRITTEN = f"tokenizers read special tokens wherever they stand: {CHAT}"
_MASK = "follows from the loss: it is the mean over all labels, and over nothing else"
_SAME = "by reasoning: a model is asked at inference what it was not trained on"

TEMPLATE: Mapping[str, Meaning] = {
    "no_template": Meaning(
        "rows that no chat template can render: the tokenizer has none",
        "error",
        "the training cannot begin",
        CHAT,
        "choose an instruct model as student, or give its folder a chat_template.jinja",
    ),
    "template_refuses": Meaning(
        "rows that the chat template refuses",
        "error",
        "the training stops at the first of them",
        f"templates raise for roles and orders of turns that they do not know: {CHAT}",
        "correct the turns of these rows (many templates take no system turn), or use another template",
    ),
    "other_beginning": Meaning(
        "rows whose text does not begin as the generation prompt does",
        "error",
        "the student is trained on other text than it sees later, and answers as if in the middle of something else",
        f"{_THINK}; what add_generation_prompt adds must be what the template writes: {CHAT}",
        "use a template that renders a turn as its own generation prompt begins it",
    ),
    "prompt_not_as_sent": Meaning(
        "rows whose prompt is not the tokens that inference sends",
        "error",
        "the student learns to answer a prompt that nobody will send",
        _SAME,
        "compare the tokens of both: the tokenizer splits the rendered text differently",
    ),
    "other_system_prompt": Meaning(
        "rows under a system prompt that the held-out tasks are not asked with",
        "warning",
        "what was learned under one system prompt shows less under another: the gain is measured too small",
        f"{_SAME}; a template's default system prompt counts as one",
        "set `student.system`, which holds for training and for inference, or leave the rows' system turns out",
    ),
    "template_tells_time": Meaning(
        "templates that write the date of today into the prompt",
        "warning",
        "rows are trained under today's date and asked under another; the same run gives other tokens tomorrow",
        "by reasoning: the template calls strftime_now",
        "fix the date in the student's chat template",
    ),
    "think_dropped": Meaning(
        "rows whose thinking the template leaves out",
        "error",
        "the student is trained on the bare answers: the traces were paid for in vain",
        f"{_THINK}; templates of reasoning models drop the thinking of earlier turns by design",
        "use a training template that keeps the thinking of the last turn",
    ),
    "think_emptied": Meaning(
        "rows with thinking, in which the template also writes an empty <think></think>",
        "error",
        "the student learns to close its thinking at once, and to think aloud in its answer or not at all",
        _THINK,
        "use a training template that takes the thinking as the row has it",
    ),
    "think_unbalanced": Meaning(
        "rows whose <think> is not opened and closed exactly once",
        "error",
        "the student learns to open its thinking twice, or never to close it: its answers are read as thoughts",
        _THINK,
        "store thinking once, where the template puts it: a generation prompt may have opened it already",
    ),
    "think_misplaced": Meaning(
        "rows whose <think> does not stand at the beginning of the answer",
        "warning",
        "servers split off a thinking part only at the beginning: it is shown to the user as text",
        "by reasoning: reasoning parsers, ours too, look for it there",
        "leave such traces out, or move the thinking to the front",
    ),
    "think_added": Meaning(
        "rows without thinking, into which the template writes an empty <think></think>",
        "warning",
        "the student learns not to think: right for a student without thinking, ruin for a reasoning model",
        f"{_THINK}; it is how some templates mark a turn without thinking",
        "train a reasoning model on traces with thinking; else leave it so",
    ),
}

MASKS: Mapping[str, Meaning] = {
    "no_stop_token": Meaning(
        "rows that the template ends with no special token",
        "error",
        "the student never learns to stop: every answer runs into its length limit",
        _STOP,
        "use a chat template that writes an end token after the answer",
    ),
    "ends_differ": Meaning(
        "rows that end with another token than the first row does",
        "error",
        "the student is stopped at one of the tokens only; answers that end with the other run on",
        _STOP,
        "use a chat template that ends every answer with the same token",
    ),
    "stop_not_in_loss": Meaning(
        "rows whose end token is not in the loss",
        "error",
        "the student never learns to stop: every answer runs into its length limit",
        _STOP,
        "the collator masks it: where padding and end are one token, it masks by the token's id",
    ),
    "prompt_in_loss": Meaning(
        "rows with tokens of the prompt in the loss",
        "error",
        "the student learns to write prompts; with long prompts and short answers hardly anything else",
        _MASK,
        "label the answer alone: -100 on every token of the prompt",
    ),
    "no_label": Meaning(
        "rows without a single label",
        "error",
        "nothing is learned of them; a batch of such rows has a loss of 0 or no number at all",
        _NO_LABEL,
        "see whether the collator cuts or masks the answer",
    ),
    "answer_not_in_loss": Meaning(
        "rows with tokens of the answer outside the loss",
        "error",
        "the student never learns these tokens, and has to guess them in the middle of its answer",
        _MASK,
        "label every token of the answer; a mask by id takes tokens within the text too",
    ),
    "wrong_label": Meaning(
        "rows with a label that is not the token that stands there, or with a label on padding",
        "error",
        "the student is trained on a text that nobody wrote",
        "by reasoning: the model shifts the labels itself, whoever shifts them before does so twice",
        "give labels at the places of their tokens, unshifted, and -100 on padding",
    ),
    "hidden_token": Meaning(
        "rows with tokens that attention does not see",
        "error",
        "the student answers without having read all of its prompt, in training and not at inference",
        _PAD,
        "mask padding by its place, not by its id",
    ),
    "cut": Meaning(
        "rows that the collator cuts",
        "error",
        "what is cut off first is the end: the answer, its result and the token that ends it",
        _CUT,
        "leave long rows out instead, as `student.max_length` does",
    ),
    "cut_unevenly": Meaning(
        "pairs of which one side is cut and the other is not",
        "error",
        "a whole answer is compared with half of another: likelihoods of other lengths, and an end token on one side",
        _CUT,
        "leave the pair out when one side is too long, as `student.max_length` does",
    ),
}

TOKENS: Mapping[str, Meaning] = {
    "double_bos": Meaning(
        "rows with two tokens for the beginning, one after the other",
        "error",
        "every row begins as no text did in pretraining, and as no prompt does at inference",
        _BOS,
        "take the token out of the template, or tokenise with add_special_tokens=False",
    ),
    "double_end": Meaning(
        "rows whose answer ends twice",
        "error",
        "they are left out of the training; were they not, the student would learn to go on after its end",
        "by reasoning: the data end the answer, and the template does so again",
        "take the end token out of the data, or out of the template",
    ),
    "second_end": Meaning(
        "rows in which another special token follows the one that ends the answer",
        "warning",
        "servers stop at the first, whoever knows the second only waits for it and counts the answer as cut",
        f"{TRL}/pull/7039: answers that end with a second EOS are counted as truncated",
        "make sure that whatever serves the student stops at both, or let the template write one",
    ),
    "pad_is_end": Meaning(
        "tokenizers in which padding and the end of a turn are one token",
        "warning",
        "our labels are set by place, so nothing is lost here; whatever masks by id masks the end of every answer",
        _PAD,
        "give the tokenizer a padding token of its own",
    ),
    "end_token_inside": Meaning(
        "rows that are left out because their answer holds the end token itself",
        "warning",
        "they are not trained on; were they, the student would learn to stop there, and to write the next turn",
        _WRITTEN,
        "take the token out of these texts, or leave the rows out",
    ),
    "template_token_in_text": Meaning(
        "rows with a special token of the chat template inside a text",
        "error",
        "it is read as the template's own: the turn ends there, and the rest of the text speaks in another role",
        _WRITTEN,
        "leave such rows out, or write the token differently",
    ),
    "special_in_text": Meaning(
        "rows with another special token inside a text",
        "warning",
        "the tokenizer reads one special token where the text has letters, and the decoded answer lacks it",
        _WRITTEN,
        "look at the examples; leave such rows out where it is not meant",
    ),
    "ids_without_rows": Meaning(
        "rows (or the padding) with token ids beyond the model's embeddings",
        "error",
        "the training dies with an index error, on a GPU with an assertion that names neither row nor token",
        RANGE,
        "use the tokenizer that belongs to the model, or resize the model's embeddings to it",
    ),
    "tokens_without_rows": Meaning(
        "tokens that the model has no embedding for; no row uses them yet",
        "warning",
        "the first prompt that holds one of them ends inference with an index error",
        RANGE,
        "use the tokenizer that belongs to the model, or resize the model's embeddings to it",
    ),
}
