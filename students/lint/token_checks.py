"""Special tokens where they do not belong: twice, inside a text, or beyond what the model has embeddings for.

Row checks give what they saw, or None; `vocabulary` and `template` look at the tokenizer alone.

    double_bos(look, student)            # "it begins with '<s><s>'"
"""

from __future__ import annotations

from collections.abc import Iterator

from stillroom.students.lint.findings import Hit
from stillroom.students.lint.mask_checks import by_name
from stillroom.students.lint.rendered_rows import Look
from stillroom.students.lint.tokenizer_setup import Student

THE_TOKENIZER, THE_TEMPLATE = "the tokenizer", "the chat template"


def double_bos(look: Look, student: Student) -> str | None:
    """The token for the beginning, twice in a row."""
    bos, ids = student.tokenizer.bos_token_id, look.whole_ids
    at = next((i for i in range(len(ids) - 1) if bos is not None and ids[i] == ids[i + 1] == bos), None)
    return None if at is None else f"token {at:,} and the next are {student.name(bos)}"


def double_end(look: Look, student: Student) -> str | None:
    """The end token, then nothing but white space, then the end token again."""
    before = _before_end(look, student)
    if look.ids is None or before != look.ids.answer[-1]:
        return None
    return f"{student.name(before)} ends the answer, then it does so again: {look.written[-40:]!r}"


def second_end(look: Look, student: Student) -> str | None:
    """Another token of the template, then nothing but white space, then the end token."""
    before = _before_end(look, student)
    if look.ids is None or before is None or before == look.ids.answer[-1]:
        return None
    if student.tokenizer.convert_ids_to_tokens(before) not in student.template:
        return None
    return f"{student.name(before)} ends the answer, then {student.name(look.ids.answer[-1])} does"


def _before_end(look: Look, student: Student) -> int | None:
    """The special token that stands before the end token, white space apart; None where there is a word."""
    *before, _ = look.ids.answer if look.ids else [0]
    while before and not student.tokenizer.decode(before[-1:]).strip():
        before.pop()
    return before[-1] if before and before[-1] in student.special else None


def end_token_inside(look: Look, student: Student) -> str | None:
    """The answer's own text ends the turn, so that the trainer leaves it out."""
    if look.left_out != "end_token_inside" or double_end(look, student):
        return None
    assert look.ids is not None
    end = str(student.tokenizer.convert_ids_to_tokens(look.ids.answer[-1]))
    at = look.written.find(end)
    return f"its text has {look.written[max(0, at - 30) :][:80]!r}"


def template_token_in_text(look: Look, student: Student) -> str | None:
    """One of the tokens that the template writes. An answer that is left out for it is told elsewhere."""
    texts = [message.content for message in look.row.prompt]
    if look.left_out != "end_token_inside":
        texts.append(look.content)
    return _found(texts, student, of_template=True)


def special_in_text(look: Look, student: Student) -> str | None:
    """Any other special token."""
    return _found([*(message.content for message in look.row.prompt), look.content], student, of_template=False)


def _found(texts: list[str], student: Student, *, of_template: bool) -> str | None:
    if student.words is None:
        return None
    for text in texts:
        for match in student.words.finditer(text):
            if (match.group() in student.template) is of_template:
                return f"{match.group()!r} in {text[max(0, match.start() - 30) :][:80]!r}"
    return None


def ids_without_rows(look: Look, student: Student) -> str | None:
    """An id beyond the embeddings."""
    highest = max(look.whole_ids, default=-1)
    if student.embeddings is None or highest < student.embeddings:
        return None
    return f"{student.name(highest)} is token {highest:,}, the model has embeddings for {student.embeddings:,}"


def ends_differ(look: Look, student: Student) -> str | None:
    """Another end than the first row's."""
    if look.ids is None or student.end_id is None or look.ids.answer[-1] == student.end_id:
        return None
    return f"it ends with {student.name(look.ids.answer[-1])}, the first row with {student.name(student.end_id)}"


def too_long(look: Look, student: Student) -> str | None:
    """More tokens than are trained; says what would be cut."""
    if look.left_out != "too_long" or look.ids is None:
        return None
    return (
        f"{look.tokens:,} tokens, max_length is {student.max_length:,}: a cut would be in {cut_place(look, student)}"
    )


def cut_place(look: Look, student: Student) -> str:
    """The part of the row in which `max_length` falls: the prompt, the thinking or the answer."""
    assert look.ids is not None
    if len(look.ids.prompt) >= student.max_length:
        return "the prompt"
    kept = student.tokenizer.decode(look.whole_ids[: student.max_length])
    thinking = "</think>" in look.whole and "</think>" not in kept
    return "the thinking" if thinking else "the answer"


TOKEN_CHECKS = by_name(
    double_bos,
    double_end,
    second_end,
    end_token_inside,
    template_token_in_text,
    special_in_text,
    ids_without_rows,
    ends_differ,
    too_long,
)


def vocabulary(student: Student, rows: int) -> Iterator[Hit]:
    """The padding token, and tokens beyond the embeddings. `rows`: how many end with the end token."""
    tokenizer, pad = student.tokenizer, student.prepared.pad_token_id
    if pad is not None and pad == student.end_id:
        masked = f"a mask by id would take the end of all {rows:,} answers, and of every turn of the prompts"
        yield Hit("pad_is_end", THE_TOKENIZER, f"both are {student.name(pad)}: {masked}")
    if student.embeddings is None:
        return
    if pad is not None and pad >= student.embeddings:
        yield Hit(
            "ids_without_rows", "the padding", f"{student.name(pad)} is token {pad:,} of {student.embeddings:,}"
        )
    beyond = sorted((i, token) for token, i in tokenizer.get_vocab().items() if i >= student.embeddings)
    for i, token in beyond:
        yield Hit(
            "tokens_without_rows", token, f"it is token {i:,}, the model has embeddings for {student.embeddings:,}"
        )


def template(student: Student) -> Iterator[Hit]:
    """What the template's own text gives away."""
    text = student.tokenizer.chat_template
    if isinstance(text, str) and "strftime_now" in text:
        at = text.find("strftime_now")
        yield Hit("template_tells_time", THE_TEMPLATE, f"it calls {text[at : at + 40]!r}")
