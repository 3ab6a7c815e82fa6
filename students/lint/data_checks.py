"""Checks of all rows as texts, of both sides of a pair, and of the reference of its loss.

list(duplicates(texts, LintLimits()))
list(prompts_differ(item))           # "of 9 and 10 tokens, from token 7 on"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from stillroom.common.files import at_home
from stillroom.common.hashing import digest
from stillroom.common.marks import split_thinking
from stillroom.common.records import Attempt, Message, Messages, State, Task, Verdict
from stillroom.common.text import tokens
from stillroom.students.data.encode import IGNORED, first_difference, render
from stillroom.students.data.rows import Row, with_system
from stillroom.students.export.save import read_record
from stillroom.students.lint.rendered_rows import Item, Look, Student
from stillroom.students.lint.report import Hit, LintLimits
from stillroom.students.methods.registry import StudentSettings
from stillroom.students.records import Answered, Checker, Reference
from stillroom.traces.filters.contamination import Decontaminate
from stillroom.traces.trace import Trace


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
    default = default_system(student)
    sent = {system_of(with_system(task.messages, system), default) for task in test}
    told = " or ".join(sorted(repr(each[:60]) for each in sent)[:3])
    for text in texts:
        own = system_of(text.prompt, default)
        if own not in sent:
            seen = f"the row has {own[:60]!r}, held-out tasks are asked with {told}"
            yield Hit("other_system_prompt", text.name, seen)


def system_of(messages: Messages, default: str) -> str:
    """The system prompt of a conversation; the template's own where it has none."""
    own = [message.content for message in messages if message.role == "system"]
    return "\n".join(own) if own else default


def default_system(student: Student) -> str:
    """What the template says as system where nobody does; empty where it says nothing, or takes no system turn."""
    mark, asked = "stillroomprobe", (Message("user", "a"),)
    try:
        marked = render((Message("system", mark), *asked), student.tokenizer, generation_prompt=True)
        plain = render(asked, student.tokenizer, generation_prompt=True)
    except Exception:  # noqa: BLE001 - templates raise whatever jinja and their authors like; each row tells
        return ""
    head, _, tail = marked.partition(mark)
    if not plain.startswith(head) or not plain.endswith(tail) or len(plain) < len(head) + len(tail):
        return ""
    return plain[len(head) : len(plain) - len(tail)]


def wrong_answers(items: Sequence[Item], checker: Checker, student: Student) -> Iterator[Hit]:
    """Rows whose trained text the checker rejects, or cannot read: two things."""
    asked = [Answered(item.task, item.sides[0].row.prompt, trained_text(item.sides[0], student)) for item in items]
    for item, answered, verdict in zip(items, asked, checker(asked), strict=True):
        if verdict is None or verdict.state is State.ACCEPTED:
            continue
        name = "answer_rejected" if verdict.state is State.REJECTED else "answer_unscored"
        shown = f"{verdict.reason}: {verdict.detail}" if verdict.detail else verdict.reason
        yield Hit(name, item.name, f"{shown}; it ends with {answered.text[-60:]!r}")


def trained_text(look: Look, student: Student) -> str:
    """The answer under the labels as a reader of the student's answers would have it."""
    assert look.fed is not None
    labels = [label for label in look.fed.labels if label != IGNORED]
    while labels and labels[-1] in student.special:
        labels.pop()
    text = str(student.tokenizer.decode(labels))
    opened = look.asked.rstrip().endswith("<think>")
    return split_thinking(text, opened=opened).text.strip()


def prompts_differ(item: Item) -> Iterator[Hit]:
    """The two prompts, as the template writes them and as the batch has them."""
    chosen, rejected = item.sides
    faults = [side.fault is not None and side.fault.name == "other_beginning" for side in item.sides]
    if faults[0] != faults[1]:
        one = "chosen" if faults[0] else "rejected"
        yield Hit("prompts_differ", item.name, f"the template writes another prompt before the {one} answer")
        return
    yes, no = _prompt(chosen), _prompt(rejected)
    if yes is not None and no is not None and yes != no:
        at = first_difference(yes, no)
        yield Hit("prompts_differ", item.name, f"of {len(yes):,} and {len(no):,} tokens, from token {at:,} on")


def _prompt(look: Look) -> list[int] | None:
    """What the batch has before the answer; None where it is missing or cut, which has its own check."""
    if look.fed is None or sum(look.fed.mask) != look.tokens:
        return None
    first = next((i for i, label in enumerate(look.fed.labels) if label != IGNORED), 0)
    return [token for token, seen in zip(look.fed.ids[:first], look.fed.mask, strict=False) if seen]


def cut_unevenly(item: Item) -> Iterator[Hit]:
    """One side of the batch is shorter than it was."""
    chosen, rejected = item.sides
    if chosen.fed is None or rejected.fed is None:
        return
    lost = [look.tokens - sum(look.fed.mask) for look in (chosen, rejected) if look.fed is not None]
    if lost[0] != lost[1] and max(lost) > 0:
        yield Hit("cut_unevenly", item.name, f"chosen loses {lost[0]:,} tokens, rejected {lost[1]:,}")


def identical_sides(item: Item) -> Iterator[Hit]:
    """The same tokens on both sides."""
    chosen, rejected = item.sides
    if chosen.ids is not None and rejected.ids is not None and chosen.ids.answer == rejected.ids.answer:
        yield Hit("identical_sides", item.name, f"both are {chosen.content[:60]!r}")


PAIR_CHECKS: tuple[Callable[[Item], Iterator[Hit]], ...] = (prompts_differ, cut_unevenly, identical_sides)
"""All checks of one pair that look at both of its sides."""


def reference_hits(
    settings: StudentSettings, reference: Reference | None, rows: Sequence[Row], limits: LintLimits
) -> Iterator[Hit]:
    """Whether the reference is what it should be: a model before preferences, that could have written the answers."""
    if settings.learns_from != "pairs":
        yield Hit("not_dpo", "the settings", f"student.method is {settings.method}")
    if reference is None:
        return
    folder = at_home(reference.model)  # a student of ours has the record of its training there
    record = read_record(folder.parent) or read_record(folder) if folder.is_dir() else None
    before = record.get("settings") if record else None
    if isinstance(before, dict) and before.get("method") == "dpo":
        told = f"{reference.model} was trained with dpo from {before.get('model')}"
        yield Hit("reference_is_dpo", "the reference", told)
    # Pairs that do not say who wrote their sides are not counted.
    off = [
        (index, row)
        for index, row in enumerate(rows, 1)
        if row.get("chosen_on_policy") is False and row.get("rejected_on_policy") is False
    ]
    if not reference.trained_first and rows and len(off) / len(rows) > limits.off_policy:
        for index, row in off:
            sources = f"{row.get('chosen_source')} and {row.get('rejected_source')}"
            yield Hit("reference_off_policy", f"row {index}", f"its sides are by {sources}")
