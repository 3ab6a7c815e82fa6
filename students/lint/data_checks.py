"""What must hold of the rows as texts: whole, not repeated, apart from the held-out tasks, right where checked.

list(duplicates(rows, LintLimits()))
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from stillroom.common.hashing import digest
from stillroom.common.records import Attempt, Message, Messages, State, Task, Verdict
from stillroom.common.text import split_thinking, tokens
from stillroom.students.data.encode import IGNORED
from stillroom.students.data.rows import with_system
from stillroom.students.lint.findings import Hit
from stillroom.students.lint.limits import LintLimits
from stillroom.students.lint.rendered_rows import Item, Look
from stillroom.students.lint.tokenizer_setup import Student, render
from stillroom.students.records import Answered, Checker
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
        found = find(_trace(text))
        if found is not None:
            name = "test_leak" if found.reason == "same_prompt" else "test_leak_near"
            yield Hit(name, text.name, f"{found.reason.replace('_', ' ')}: {found.detail}")


def _trace(text: Text) -> Trace:
    """The row as the filters read it."""
    attempt = Attempt(text.task_id or text.name, 0, text.answer, None, "stop", 0, 0, None, 0.0, "")
    task = Task(text.task_id or text.name, text.prompt, None, text.name)
    return Trace(task, attempt, Verdict(State.ACCEPTED, ""))


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
            yield Hit(
                "other_system_prompt", text.name, f"the row has {own[:60]!r}, held-out tasks are asked with {told}"
            )


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
