"""Checks of one row: the text of the chat template, the collator's loss mask, and special tokens.

Each check returns what it saw, or None, and has the name of its finding in `catalogue.yaml`.

    stop_not_in_loss(look, student)      # "the last label is 'four', not '<|im_end|>'"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from stillroom.common.marks import CLOSE, OPEN, foreign_marks, opened_by_template, split_thinking
from stillroom.students.data.encode import IGNORED, first_difference, render
from stillroom.students.lint.rendered_rows import Look, Student
from stillroom.students.lint.report import Hit

_EMPTY = re.compile(rf"{OPEN}\s*{CLOSE}")


def prompt_not_as_sent(look: Look, student: Student) -> str | None:
    """The prompt in the row, and the prompt by the template's own tokenisation."""
    if look.ids is None or list(look.sent) == look.ids.prompt:
        return None
    at = first_difference(look.sent, look.ids.prompt)
    sent, trained = (student.tokenizer.decode(list(ids[at:])[:8]) for ids in (look.sent, look.ids.prompt))
    return f"from token {at} on inference sends {sent!r}, the row has {trained!r}"


def _thinks(look: Look) -> str:
    """The row's own thinking; empty where it has none."""
    return split_thinking(look.content, opened=opened_by_template(look.content)).reasoning or ""


def _tagged(look: Look) -> bool:
    """Whether there is anything to look at. A template may write a part with neither tag in the row."""
    return look.fault is None and any(tag in text for tag in (OPEN, CLOSE) for text in (look.content, look.whole))


def _opening(look: Look, student: Student) -> str:
    """What the generation prompt adds: it may open the thinking, or close it at once."""
    without = render(look.row.prompt, student.tokenizer, generation_prompt=False)
    if look.asked.startswith(without):
        return look.asked[len(without) :]
    return OPEN if look.asked.rstrip().endswith(OPEN) else ""


def think_emptied(look: Look, student: Student) -> str | None:
    """The row thinks, and the text has an empty part."""
    if not _tagged(look) or not _thinks(look):
        return None
    spoken = _opening(look, student) + look.written
    found = _EMPTY.search(spoken)
    return None if found is None else f"the student reads {spoken[max(0, found.start() - 20) :][:80]!r}"


def think_dropped(look: Look, student: Student) -> str | None:
    """The row thinks, and the text does not."""
    if not _tagged(look) or not (thinking := _thinks(look)) or think_emptied(look, student):
        return None
    if " ".join(thinking.split()) in " ".join(look.written.split()):
        return None
    return f"the row thinks {thinking[:40]!r}, the student reads {look.written[:60]!r}"


def think_unbalanced(look: Look, student: Student) -> str | None:
    """Opened or closed more than once, or one without the other."""
    if not _tagged(look) or think_emptied(look, student) or think_dropped(look, student):
        return None
    spoken = _opening(look, student) + look.written
    opened, closed = spoken.count(OPEN), spoken.count(CLOSE)
    if opened == closed <= 1 and spoken.find(OPEN) <= spoken.find(CLOSE):
        return None
    return f"opened {opened} times, closed {closed} times: {spoken[:80]!r}"


def think_misplaced(look: Look, student: Student) -> str | None:
    """Opened and closed once, and something stands before it."""
    if not _tagged(look) or look.written.count(OPEN) != 1:
        return None
    if think_emptied(look, student) or think_unbalanced(look, student):
        return None
    before = look.written.partition(OPEN)[0]
    return f"{before[-60:]!r} stands before it" if before.strip() else None


def think_added(look: Look, student: Student) -> str | None:
    """The row has no tag, and the text has an empty part that the prompt alone has not."""
    if not _tagged(look) or OPEN in look.content or CLOSE in look.content:
        return None
    opening = _opening(look, student)
    if len(_EMPTY.findall(opening + look.written)) == len(_EMPTY.findall(opening)):
        return None
    return f"after the prompt's {opening[-24:]!r} the answer begins with {look.written[:40]!r}"


class Lined(NamedTuple):
    """A row of the batch without its padding. `answer`: the place of the answer's first token."""

    ids: list[int]
    labels: list[int]
    mask: list[int]
    answer: int


def lined(look: Look) -> Lined | None:
    """The row where it stands in the batch, whichever side the padding is on; None where it is not whole."""
    if look.fed is None or look.ids is None:
        return None
    ids, length = look.whole_ids, look.tokens
    for start in (0, len(look.fed.ids) - length):
        if start >= 0 and look.fed.ids[start : start + length] == ids:
            whole = slice(start, start + length)
            return Lined(ids, look.fed.labels[whole], look.fed.mask[whole], len(look.ids.prompt))
    return None


def cut(look: Look, student: Student) -> str | None:
    """Fewer tokens than the row has."""
    if look.fed is None or lined(look) is not None:
        return None
    return f"{sum(look.fed.mask):,} of its {look.tokens:,} tokens reach the model"


def no_label(look: Look, student: Student) -> str | None:
    """Nothing of it is trained, cut or not."""
    if look.fed is None or _labelled(look.fed.labels):
        return None
    return f"none of its {look.tokens:,} tokens has a label"


def _labelled(labels: list[int]) -> list[int]:
    """The places that have a label."""
    return [i for i, label in enumerate(labels) if label != IGNORED]


def stop_not_in_loss(look: Look, student: Student) -> str | None:
    """The end token stands there and is not trained."""
    row = lined(look)
    labelled = _labelled(row.labels) if row else []
    if row is None or not labelled or row.labels[-1] != IGNORED:
        return None
    return (
        f"the last label is {student.name(row.ids[labelled[-1]])}, then comes {student.name(row.ids[-1])} without one"
    )


def prompt_in_loss(look: Look, student: Student) -> str | None:
    """Labels before the answer."""
    row = lined(look)
    found = _labelled(row.labels[: row.answer]) if row else []
    if row is None or not found:
        return None
    return f"{len(found):,} of {row.answer:,} tokens of the prompt, the first is {student.name(row.ids[found[0]])}"


def answer_not_in_loss(look: Look, student: Student) -> str | None:
    """Gaps in the answer; `stop_not_in_loss` checks its end."""
    row = lined(look)
    if row is None or not _labelled(row.labels):
        return None
    gaps = [i for i in range(row.answer, len(row.ids) - 1) if row.labels[i] == IGNORED]
    if not gaps:
        return None
    first = student.name(row.ids[gaps[0]])
    return f"{len(gaps):,} of {len(row.ids) - row.answer:,} tokens of the answer, the first is {first}"


def wrong_label(look: Look, student: Student) -> str | None:
    """A label that is not its token, or that stands on padding."""
    if look.fed is None:
        return None
    row = lined(look)
    if row is not None and len(_labelled(look.fed.labels)) > len(_labelled(row.labels)):
        return "padding has labels"
    pairs = zip(row.ids, row.labels, strict=True) if row else ()
    wrong = [(token, label) for token, label in pairs if label not in (IGNORED, token)]
    if not wrong:
        return None
    return f"{len(wrong):,} labels, the first is {student.name(wrong[0][1])} where {student.name(wrong[0][0])} stands"


def hidden_token(look: Look, student: Student) -> str | None:
    """Attention leaves tokens of the row out."""
    row = lined(look)
    hidden = [i for i, seen in enumerate(row.mask) if not seen] if row else []
    if row is None or not hidden:
        return None
    return f"{len(hidden):,} of {len(row.ids):,} tokens, the first is {student.name(row.ids[hidden[0]])}"


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
    """One of the tokens that the template writes. `end_token_inside` reports answers that are left out for it."""
    texts = [message.content for message in look.row.prompt]
    if look.left_out != "end_token_inside":
        texts.append(look.content)
    return _found(texts, student, of_template=True)


def special_in_text(look: Look, student: Student) -> str | None:
    """Any other special token."""
    return _found([*(message.content for message in look.row.prompt), look.content], student, of_template=False)


def foreign_mark(look: Look, student: Student) -> str | None:
    """A mark of thinking, or of a chat template, that is none of the student's."""
    for match in foreign_marks(look.content):
        if student.words is None or not student.words.fullmatch(match.group()):
            return f"{match.group()!r} in {look.content[max(0, match.start() - 30) :][:80]!r}"
    return None


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
    kept = student.tokenizer.decode(look.whole_ids[: student.max_length])
    if len(look.ids.prompt) >= student.max_length:
        place = "the prompt"
    else:
        place = "the thinking" if CLOSE in look.whole and CLOSE not in kept else "the answer"
    return f"{look.tokens:,} tokens, max_length is {student.max_length:,}: a cut would be in {place}"


ROW_CHECKS: Mapping[str, Callable[[Look, Student], str | None]] = {
    check.__name__: check
    for check in (
        prompt_not_as_sent,
        think_emptied,
        think_dropped,
        think_unbalanced,
        think_misplaced,
        think_added,
        cut,
        no_label,
        stop_not_in_loss,
        prompt_in_loss,
        answer_not_in_loss,
        wrong_label,
        hidden_token,
        double_bos,
        double_end,
        second_end,
        end_token_inside,
        template_token_in_text,
        special_in_text,
        foreign_mark,
        ids_without_rows,
        ends_differ,
        too_long,
    )
}
"""All checks of one row, or one side of a pair, by the name of what they find."""


def vocabulary(student: Student, rows: int) -> Iterator[Hit]:
    """The padding token, and tokens beyond the embeddings. `rows`: how many end with the end token."""
    pad = student.prepared.pad_token_id
    if pad is not None and pad == student.end_id:
        masked = f"a mask by id would take the end of all {rows:,} answers, and of every turn of the prompts"
        yield Hit("pad_is_end", "the tokenizer", f"both are {student.name(pad)}: {masked}")
    if student.embeddings is None:
        return
    if pad is not None and pad >= student.embeddings:
        told = f"{student.name(pad)} is token {pad:,} of {student.embeddings:,}"
        yield Hit("ids_without_rows", "the padding", told)
    for token, i in sorted(student.tokenizer.get_vocab().items(), key=lambda item: item[1]):
        if i >= student.embeddings:
            told = f"it is token {i:,}, the model has embeddings for {student.embeddings:,}"
            yield Hit("tokens_without_rows", token, told)


def template(student: Student) -> Iterator[Hit]:
    """What the template's own text gives away."""
    text = student.tokenizer.chat_template
    if isinstance(text, str) and "strftime_now" in text:
        at = text.find("strftime_now")
        yield Hit("template_tells_time", "the chat template", f"it calls {text[at : at + 40]!r}")
