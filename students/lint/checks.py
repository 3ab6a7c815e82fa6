"""The checks of the lint: of a row, of a pair, of all rows as texts, of the tokenizer, and of the reference.

Each check tells what it saw under the names of `catalogue.yaml`.

    list(masks(look, student))           # [Hit("stop_not_in_loss", "row 1", "the last label is 'four', then …")]
    list(duplicates(texts, LintLimits()))
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from stillroom.common.files import at_home
from stillroom.common.hashing import digest
from stillroom.common.marks import CLOSE, OPEN, foreign_marks, opened_by_template, split_thinking
from stillroom.common.records import Attempt, Message, Messages, State, Task, Verdict
from stillroom.common.text import tokens
from stillroom.students.data.encode import IGNORED, first_difference, render
from stillroom.students.data.rows import Row, with_system
from stillroom.students.export.save import read_record
from stillroom.students.lint.rendered_rows import Fed, Item, Look, Student
from stillroom.students.lint.report import Hit, LintLimits
from stillroom.students.methods.registry import StudentSettings
from stillroom.students.records import Answered, Checker, Reference
from stillroom.traces.filters.contamination import Decontaminate
from stillroom.traces.trace import Trace

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


def foreign_marks_in(look: Look, student: Student) -> Iterator[Hit]:
    """Marks of thinking, or of a chat template, that are none of the student's."""
    for match in foreign_marks(look.content, student.thinking):
        if student.words is None or not student.words.fullmatch(match.group()):
            told = f"{match.group()!r} in {look.content[max(0, match.start() - 30) :][:80]!r}"
            yield Hit("foreign_mark", look.name, told)


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


ROW_CHECKS: tuple[Callable[[Look, Student], Iterator[Hit]], ...] = (
    prompts,
    thinking,
    masks,
    special_tokens,
    foreign_marks_in,
    sizes,
)
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


def pair_checks(item: Item) -> Iterator[Hit]:
    """All checks of one pair that look at both of its sides."""
    chosen, rejected = item.sides
    if chosen.ids is not None and rejected.ids is not None and chosen.ids.answer == rejected.ids.answer:
        yield Hit("identical_sides", item.name, f"both are {chosen.content[:60]!r}")
    # The two prompts, as the template writes them and as the batch has them.
    faults = [side.fault is not None and side.fault.name == "other_beginning" for side in item.sides]
    if faults[0] != faults[1]:
        one = "chosen" if faults[0] else "rejected"
        yield Hit("prompts_differ", item.name, f"the template writes another prompt before the {one} answer")
    if chosen.fed is None or rejected.fed is None:
        return
    # Tokens that the batch has lost. What is missing or cut has its own check, so prompts are compared where none is.
    lost = [side.tokens - sum(side.fed.mask) for side in item.sides if side.fed is not None]
    if lost[0] != lost[1] and max(lost) > 0:
        yield Hit("cut_unevenly", item.name, f"chosen loses {lost[0]:,} tokens, rejected {lost[1]:,}")
    yes, no = _prompt(chosen.fed), _prompt(rejected.fed)
    if lost == [0, 0] and yes != no:
        at = first_difference(yes, no)
        yield Hit("prompts_differ", item.name, f"of {len(yes):,} and {len(no):,} tokens, from token {at:,} on")


def _prompt(fed: Fed) -> list[int]:
    """What the batch has before the answer."""
    first = next((i for i, label in enumerate(fed.labels) if label != IGNORED), 0)
    return [token for token, seen in zip(fed.ids[:first], fed.mask, strict=False) if seen]


class Text(NamedTuple):
    """A row as a text. `task_id`: None where the row names none. `answer`: of a pair, both."""

    name: str
    task_id: str | None
    prompt: Messages
    answer: str


def duplicates(texts: Sequence[Text], limits: LintLimits) -> Iterator[Hit]:
    """All but the first of equal rows, and of long answers that stand under several prompts; nothing where they are
    no more than the limit allows."""
    seen: dict[str, str] = {}
    hits = []
    for text in texts:
        words = tokens(text.answer)
        asked = [] if len(words) >= limits.same_answer_words else [m.content for m in text.prompt]
        first = seen.setdefault(digest([asked, words]), text.name)
        if first != text.name:
            hits.append(Hit("duplicates", text.name, f"it says what {first} says"))
    if texts and len(hits) / len(texts) > limits.duplicates:
        yield from hits


def leaks(texts: Sequence[Text], test: Sequence[Task]) -> Iterator[Hit]:
    """Rows that ask a held-out task, or hold one: by the rules of the filter `decontaminate`."""
    find = Decontaminate().start(test)
    for text in texts:
        task_id = text.task_id or text.name
        attempt = Attempt(task_id, 0, text.answer, None, "stop", 0, 0, None, 0.0, "")
        found = find(Trace(Task(task_id, text.prompt, None, text.name), attempt, Verdict(State.ACCEPTED, "")))
        if found is not None:
            name = "test_leak" if found.reason == "same_prompt" else "test_leak_near"
            yield Hit(name, text.name, f"{found.reason.replace('_', ' ')}: {found.detail}")


def other_system_prompts(
    texts: Sequence[Text], test: Sequence[Task], system: str | None, student: Student
) -> Iterator[Hit]:
    """Rows whose system prompt, the template's own counted, no held-out task is asked with."""
    # What the template says as system where nobody does; empty where it says nothing, or takes no system turn.
    default, mark, asked = "", "stillroomprobe", (Message("user", "a"),)
    with suppress(Exception):  # templates raise whatever jinja and their authors like; each row tells
        marked = render((Message("system", mark), *asked), student.tokenizer, generation_prompt=True)
        plain = render(asked, student.tokenizer, generation_prompt=True)
        head, _, tail = marked.partition(mark)
        if plain.startswith(head) and plain.endswith(tail) and len(plain) >= len(head) + len(tail):
            default = plain[len(head) : len(plain) - len(tail)]

    def system_of(messages: Messages) -> str:
        own = [message.content for message in messages if message.role == "system"]
        return "\n".join(own) if own else default

    sent = {system_of(with_system(task.messages, system)) for task in test}
    told = " or ".join(sorted(repr(each[:60]) for each in sent)[:3])
    for text in texts:
        if (own := system_of(text.prompt)) not in sent:
            seen = f"the row has {own[:60]!r}, held-out tasks are asked with {told}"
            yield Hit("other_system_prompt", text.name, seen)


def wrong_answers(items: Sequence[Item], checker: Checker, student: Student) -> Iterator[Hit]:
    """Rows whose trained text the checker rejects, or cannot read: two things."""
    asked = []
    for item in items:
        # The answer under the labels as a reader of the student's answers would have it.
        look = item.sides[0]
        assert look.fed is not None
        labels = [label for label in look.fed.labels if label != IGNORED]
        while labels and labels[-1] in student.special:
            labels.pop()
        opened = look.asked.rstrip().endswith("<think>")
        text = split_thinking(str(student.tokenizer.decode(labels)), opened=opened).text.strip()
        asked.append(Answered(item.task, look.row.prompt, text))
    for item, answered, verdict in zip(items, asked, checker(asked), strict=True):
        if verdict is None or verdict.state is State.ACCEPTED:
            continue
        name = "answer_rejected" if verdict.state is State.REJECTED else "answer_unscored"
        shown = f"{verdict.reason}: {verdict.detail}" if verdict.detail else verdict.reason
        yield Hit(name, item.name, f"{shown}; it ends with {answered.text[-60:]!r}")


def reference_hits(
    settings: StudentSettings, reference: Reference | None, rows: Sequence[Row], limits: LintLimits
) -> Iterator[Hit]:
    """Whether the reference is what it should be: a model before preferences, that could have written the answers."""
    if settings.learns_from == "rows":
        yield Hit("not_dpo", "the settings", f"student.method is {settings.method}")
    if reference is None:
        return
    folder = at_home(reference.model)  # a student of ours has the record of its training there
    record = read_record(folder.parent) or read_record(folder) if folder.is_dir() else None
    before = record.get("settings") if record else None
    if isinstance(before, dict) and before.get("method") in ("dpo", "kto", "orpo"):
        told = f"{reference.model} was trained with {before.get('method')} from {before.get('model')}"
        yield Hit("reference_is_dpo", "the reference", told)
    # Pairs that do not say who wrote their sides are not counted.
    off = [
        (index, row)
        for index, row in enumerate(rows, 1)
        if isinstance(row, Mapping)  # `not_a_row` tells of the others
        and row.get("chosen_on_policy") is False
        and row.get("rejected_on_policy") is False
    ]
    if not reference.trained_first and rows and len(off) / len(rows) > limits.off_policy:
        for index, row in off:
            sources = f"{row.get('chosen_source')} and {row.get('rejected_source')}"
            yield Hit("reference_off_policy", f"row {index}", f"its sides are by {sources}")
