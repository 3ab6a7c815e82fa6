"""Checks of one row: the text of the chat template, the collator's loss mask, and special tokens.

Each check tells what it saw under the names of `catalogue.yaml`, none of them twice for a row.

    list(masks(look, student))      # [Hit("stop_not_in_loss", "row 1", "the last label is 'four', then comes …")]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from stillroom.common.text import CLOSE, OPEN, opened_by_template, split_thinking
from stillroom.students.data.encode import IGNORED, first_difference, render
from stillroom.students.lint.rendered_rows import Look, Student
from stillroom.students.lint.report import Hit

_EMPTY = re.compile(rf"{OPEN}\s*{CLOSE}")


def prompts(look: Look, student: Student) -> Iterator[Hit]:
    """The prompt in the row, and the prompt by the template's own tokenisation."""
    if look.ids is not None and list(look.sent) != look.ids.prompt:
        at = first_difference(look.sent, look.ids.prompt)
        sent, trained = (student.tokenizer.decode(list(ids[at:])[:8]) for ids in (look.sent, look.ids.prompt))
        told = f"from token {at} on inference sends {sent!r}, the row has {trained!r}"
        yield Hit("prompt_not_as_sent", look.name, told)


def thinking(look: Look, student: Student) -> Iterator[Hit]:
    """The thinking part of the answer, as the row has it and as the template writes it."""
    # A template may write a part with neither tag in the row.
    tagged = any(tag in text for tag in (OPEN, CLOSE) for text in (look.content, look.whole))
    if look.fault is not None or not tagged:
        return
    # What the generation prompt adds: it may open the thinking, or close it at once.
    without = render(look.row.prompt, student.tokenizer, generation_prompt=False)
    if look.asked.startswith(without):
        opening = look.asked[len(without) :]
    else:
        opening = OPEN if look.asked.rstrip().endswith(OPEN) else ""
    spoken = opening + look.written
    thought = split_thinking(look.content, opened=opened_by_template(look.content)).reasoning or ""

    # The row thinks, and the text has an empty part, or does not think.
    emptied = _EMPTY.search(spoken) if thought else None
    dropped = bool(thought) and not emptied and " ".join(thought.split()) not in " ".join(look.written.split())
    opened, closed = spoken.count(OPEN), spoken.count(CLOSE)
    balanced = opened == closed <= 1 and spoken.find(OPEN) <= spoken.find(CLOSE)
    if emptied:
        told = f"the student reads {spoken[max(0, emptied.start() - 20) :][:80]!r}"
        yield Hit("think_emptied", look.name, told)
    elif dropped:
        told = f"the row thinks {thought[:40]!r}, the student reads {look.written[:60]!r}"
        yield Hit("think_dropped", look.name, told)
    elif not balanced:
        told = f"opened {opened} times, closed {closed} times: {spoken[:80]!r}"
        yield Hit("think_unbalanced", look.name, told)
    # Opened and closed once, and something stands before it.
    before = look.written.partition(OPEN)[0]
    if not emptied and (balanced or dropped) and look.written.count(OPEN) == 1 and before.strip():
        yield Hit("think_misplaced", look.name, f"{before[-60:]!r} stands before it")
    # The row has no tag, and the text has an empty part that the prompt alone has not.
    added = len(_EMPTY.findall(spoken)) != len(_EMPTY.findall(opening))
    if added and OPEN not in look.content and CLOSE not in look.content:
        told = f"after the prompt's {opening[-24:]!r} the answer begins with {look.written[:40]!r}"
        yield Hit("think_added", look.name, told)


def masks(look: Look, student: Student) -> Iterator[Hit]:
    """Tokens, labels and attention of the row in the batch."""
    if look.fed is None or look.ids is None:
        return
    in_batch = [label for label in look.fed.labels if label != IGNORED]
    if not in_batch:
        yield Hit("no_label", look.name, f"none of its {look.tokens:,} tokens has a label")
    # Where it stands in the batch, whichever side the padding is on.
    ids, length, answer = look.whole_ids, look.tokens, len(look.ids.prompt)
    starts = (start for start in (0, len(look.fed.ids) - length) if start >= 0)
    start = next((start for start in starts if look.fed.ids[start : start + length] == ids), None)
    if start is None:
        yield Hit("cut", look.name, f"{sum(look.fed.mask):,} of its {length:,} tokens reach the model")
        return

    labels, mask = (column[start : start + length] for column in (look.fed.labels, look.fed.mask))
    labelled = [i for i, label in enumerate(labels) if label != IGNORED]
    if labelled and labels[-1] == IGNORED:
        last, end = student.name(ids[labelled[-1]]), student.name(ids[-1])
        yield Hit("stop_not_in_loss", look.name, f"the last label is {last}, then comes {end} without one")
    if asked := [i for i in labelled if i < answer]:
        told = f"{len(asked):,} of {answer:,} tokens of the prompt, the first is {student.name(ids[asked[0]])}"
        yield Hit("prompt_in_loss", look.name, told)
    gaps = [i for i in range(answer, length - 1) if labels[i] == IGNORED]
    if labelled and gaps:
        first = student.name(ids[gaps[0]])
        told = f"{len(gaps):,} of {length - answer:,} tokens of the answer, the first is {first}"
        yield Hit("answer_not_in_loss", look.name, told)
    wrong = [(token, label) for token, label in zip(ids, labels, strict=True) if label not in (IGNORED, token)]
    if len(in_batch) > len(labelled):
        yield Hit("wrong_label", look.name, "padding has labels")
    elif wrong:
        token, label = map(student.name, wrong[0])
        yield Hit("wrong_label", look.name, f"{len(wrong):,} labels, the first is {label} where {token} stands")
    if hidden := [i for i, seen in enumerate(mask) if not seen]:
        told = f"{len(hidden):,} of {length:,} tokens, the first is {student.name(ids[hidden[0]])}"
        yield Hit("hidden_token", look.name, told)


def special_tokens(look: Look, student: Student) -> Iterator[Hit]:
    """Special tokens that come twice, or stand in a text."""
    tokenizer, ids = student.tokenizer, look.whole_ids
    bos = tokenizer.bos_token_id
    at = next((i for i in range(len(ids) - 1) if bos is not None and ids[i] == ids[i + 1] == bos), None)
    if at is not None:
        yield Hit("double_bos", look.name, f"token {at:,} and the next are {student.name(bos)}")
    if look.ids is not None:
        # The special token that stands before the end token, white space apart; None where there is a word.
        *rest, end = look.ids.answer
        while rest and not tokenizer.decode(rest[-1:]).strip():
            rest.pop()
        before = rest[-1] if rest and rest[-1] in student.special else None
        if before == end:
            told = f"{student.name(end)} ends the answer, then it does so again: {look.written[-40:]!r}"
            yield Hit("double_end", look.name, told)
        elif before is not None and tokenizer.convert_ids_to_tokens(before) in student.template:
            told = f"{student.name(before)} ends the answer, then {student.name(end)} does"
            yield Hit("second_end", look.name, told)
        if look.left_out == "end_token_inside" and before != end:
            inside = look.written.find(str(tokenizer.convert_ids_to_tokens(end)))
            told = f"its text has {look.written[max(0, inside - 30) :][:80]!r}"
            yield Hit("end_token_inside", look.name, told)
    # One of the tokens that the template writes, or any other. `end_token_inside` reports the answers that are left
    # out for the first of these.
    if student.words is None:
        return
    answer = look.content
    for text in (*(message.content for message in look.row.prompt), answer):
        for match in student.words.finditer(text):
            of_template = match.group() in student.template
            if not (of_template and text is answer and look.left_out == "end_token_inside"):
                name = "template_token_in_text" if of_template else "special_in_text"
                yield Hit(name, look.name, f"{match.group()!r} in {text[max(0, match.start() - 30) :][:80]!r}")


def sizes(look: Look, student: Student) -> Iterator[Hit]:
    """Ids beyond the embeddings, another end than the first row's, and rows with more tokens than are trained."""
    highest = max(look.whole_ids, default=-1)
    if student.embeddings is not None and highest >= student.embeddings:
        told = f"{student.name(highest)} is token {highest:,}, the model has embeddings for {student.embeddings:,}"
        yield Hit("ids_without_rows", look.name, told)
    if look.ids is None:
        return
    end = look.ids.answer[-1]
    if student.end_id is not None and end != student.end_id:
        told = f"it ends with {student.name(end)}, the first row with {student.name(student.end_id)}"
        yield Hit("ends_differ", look.name, told)
    if look.left_out == "too_long":
        kept = student.tokenizer.decode(look.whole_ids[: student.max_length])
        if len(look.ids.prompt) >= student.max_length:
            place = "the prompt"
        else:
            place = "the thinking" if CLOSE in look.whole and CLOSE not in kept else "the answer"
        told = f"{look.tokens:,} tokens, max_length is {student.max_length:,}: a cut would be in {place}"
        yield Hit("too_long", look.name, told)


ROW_CHECKS: tuple[Callable[[Look, Student], Iterator[Hit]], ...] = (prompts, thinking, masks, special_tokens, sizes)
"""All checks of one row, or one side of a pair. Of several hits of one name the first counts."""


def tokenizer_checks(student: Student, rows: int) -> Iterator[Hit]:
    """The padding token, tokens beyond the embeddings, and what the template's own text gives away. `rows`: how many
    end with the end token."""
    pad = student.prepared.pad_token_id
    if pad is not None and pad == student.end_id:
        masked = f"a mask by id would take the end of all {rows:,} answers, and of every turn of the prompts"
        yield Hit("pad_is_end", "the tokenizer", f"both are {student.name(pad)}: {masked}")
    if student.embeddings is not None:
        if pad is not None and pad >= student.embeddings:
            told = f"{student.name(pad)} is token {pad:,} of {student.embeddings:,}"
            yield Hit("ids_without_rows", "the padding", told)
        for token, i in sorted(student.tokenizer.get_vocab().items(), key=lambda item: item[1]):
            if i >= student.embeddings:
                told = f"it is token {i:,}, the model has embeddings for {student.embeddings:,}"
                yield Hit("tokens_without_rows", token, told)
    text = student.tokenizer.chat_template
    if isinstance(text, str) and "strftime_now" in text:
        at = text.find("strftime_now")
        yield Hit("template_tells_time", "the chat template", f"it calls {text[at : at + 40]!r}")
