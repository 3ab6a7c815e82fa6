"""How far a student is from another model, token by token, on that model's answers to the held-out tasks.

    answers = first_answers(tasks, {"t1": attempt, …})          # of the base, or of the teacher
    found = token_kls("embedded:smollm2-135m-instruct", "runs/tutor/student", answers)
    found.kls["t1"].nats / found.kls["t1"].tokens               # mean KL(base‖student) of a token
    kl_result("student_after", TO_BASE, found, seed=0)          # a row of eval.json, `kl_to_base`

Two gauges rest on it. `kl_to_teacher` says how much of the teacher's distribution a student still lacks. `kl_to_base`
is the gauge of forgetting: "RL's Razor" (Shenfeld et al. 2025, arXiv:2509.04259) finds that what a model forgets
elsewhere is predicted by the forward KL(π₀‖π) from its base π₀ on the *new* task: the mean over that task's prompts x
of Σ_y π₀(y|x) log(π₀(y|x) / π(y|x)). By the chain rule this is a sum over the tokens of the base's own answers y, of
the KL between both models' distributions of the next token. So the tokens are those of the other model's answers to
the held-out tasks, the end token included where an answer ended by itself, and the direction is KL(other‖student). We
differ in two points: the answers are those that the evaluation has anyway, mostly greedy, and the sum is divided by
the tokens, so that a base that rambles does not count for more. The tokens do not depend on the student, so students
of one base, or of one teacher, and one set of tasks can be compared.

Each token's KL is exact over the tokenizer's whole vocabulary, from logits widened to float32. Both models read the
same ids; refused are models with other tokenizers or chat templates. Left out, and counted: answers without a token,
and those longer than the models' context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

from stillroom.common.marks import CLOSE, OPEN
from stillroom.common.models.resolve import load_model, load_tokenizer, pick_device
from stillroom.common.records import Attempt, Message, Messages, Task
from stillroom.common.stats.bootstrap import ratio_over_tasks
from stillroom.common.text import first_line
from stillroom.errors import InputError, NoRoom, TrainingError
from stillroom.evaluation.evaluate import over_seeds, ratio_over_seeds
from stillroom.evaluation.results import (
    AFTER,
    BEFORE,
    KL_TO_BASE,
    KL_TO_TEACHER,
    KL_TO_TEACHER_RATIO,
    TEACHER,
    Result,
    result_of,
)
from stillroom.students.data.encode import ids_of, special_ids
from stillroom.students.data.rows import SftRow, with_system

MOST_ANSWERS = 50
"""Answers that are read: on a CPU that takes about as long as forty everyday texts."""
MOST_LOGITS = 1 << 26
"""Logits of both models together that are held at once, about 0.3 GB in float32."""


class Gauge(NamedTuple):
    """`metric`: its name in `eval.json`; `against`: the model whose answers are read, as the evaluation calls it;
    `role`: the same in messages."""

    metric: str
    against: str
    role: str


TO_BASE = Gauge(KL_TO_BASE, BEFORE, "base")
TO_TEACHER = Gauge(KL_TO_TEACHER, TEACHER, "teacher")


class GivenAnswer(NamedTuple):
    """What a model answered to a task. `reasoning`: its thinking, None without any. `stopped`: the answer ended by
    itself."""

    task: str
    messages: Messages
    text: str
    reasoning: str | None
    stopped: bool


class TokenKl(NamedTuple):
    """Of one answer: the sum of the KL at each of its tokens, in nats, and how many tokens it has."""

    nats: float
    tokens: int


class TokenKls(NamedTuple):
    """By task. `left_out`: answers without a token (`empty`) and those beyond the context (`too_long`)."""

    kls: Mapping[str, TokenKl]
    left_out: Mapping[str, int]


class _Row(NamedTuple):
    """An answer in tokens; the first `prompt` of them are the prompt's."""

    task: str
    ids: list[int]
    prompt: int


def first_answers(tasks: Sequence[Task], answers: Mapping[str, Attempt]) -> list[GivenAnswer]:
    """The first `MOST_ANSWERS` of the tasks that have an answer. `answers`: the other model's, by task id."""
    found = [(task, answers[task.id]) for task in tasks if task.id in answers][:MOST_ANSWERS]
    return [GivenAnswer(t.id, t.messages, a.text, a.reasoning, a.finish_reason == "stop") for t, a in found]


def token_kls(
    other: str,
    student: str,
    answers: Sequence[GivenAnswer],
    *,
    role: str = TO_BASE.role,
    system: str | None = None,
    dtype: str = "auto",
) -> TokenKls:
    """Reads the answers of `other` with both models. `role`: what it is to the student, for messages. `system`: the
    system prompt under which the student is asked.

    Raises InputError where the models have other tokenizers or chat templates, or one cannot be loaded; RecipeError
    for a model whose logits `Head` does not know; TrainingError for numbers that are none, NoRoom (a TrainingError)
    where the GPU does not hold both.
    """
    ours, theirs = _tokenizer(student), _tokenizer(other)
    if ours.get_vocab() != theirs.get_vocab():
        raise InputError(f"{student} and {other} have other tokenizers: a KL needs the same tokens")
    if ours.chat_template != theirs.chat_template:
        raise InputError(f"{student} and {other} have other chat templates: a KL needs the same prompts")
    import torch

    try:
        device = pick_device()
        models = [load_model(name, dtype, device) for name in (other, student)]
        most = min(getattr(m.config, "max_position_embeddings", None) or 1 << 30 for m in models)
        rows, left_out = _encoded(answers, ours, system, most)
        with torch.inference_mode():
            found = _kls(models, [f"the {role} {other}", f"the student {student}"], rows, len(ours), device)
    except torch.OutOfMemoryError as error:
        raise NoRoom(f"the GPU does not hold {other} and {student} at once") from error
    if odd := [task for task, kl in found.items() if not isfinite(kl.nats)]:
        raise TrainingError(f"the KL between {other} and {student} is not a number for {odd[0]}")
    return TokenKls(found, left_out)


def kl_result(who: str, gauge: Gauge, found: TokenKls, *, seed: int) -> Result | None:
    """The mean KL of a token over all answers, with a bootstrap interval over tasks. None where none was read."""
    mean = ratio_over_tasks(found.kls, seed=seed) if found.kls else None
    if mean is None:
        return None
    return result_of(who, gauge.metric, mean, **_more(gauge, found))


def kl_to_teacher_results(trained: Mapping[str, Sequence[TokenKls]], *, seed: int) -> list[Result]:
    """The KL to the teacher of models that may have been trained several times, each from another seed.

    A row for each, and a `kl_to_teacher_ratio` of `student_after` over each of the others, with an interval over
    tasks and trainings: below 1, the student is nearer. Models of which nothing was read have no row."""
    rows, runs = list[Result](), dict[str, list[dict[str, float]]]()
    for who, each in trained.items():
        tokens = sum(kl.tokens for kl in each[0].kls.values()) if each else 0
        if not tokens:
            continue
        # The same answers, so the same tokens in every training: the mean over tasks of these is nats for each token.
        runs[who] = [{t: kl.nats * len(one.kls) / tokens for t, kl in one.kls.items()} for one in each]
        if len(each) == 1:
            rows += filter(None, [kl_result(who, TO_TEACHER, each[0], seed=seed)])
        else:
            found = over_seeds(runs[who], seed=seed)
            more = {"each": found.each, "between": found.between, "seeds": len(each)}
            rows.append(result_of(who, KL_TO_TEACHER, found.mean, **_more(TO_TEACHER, each[0]), **more))
    ours = runs.get(AFTER)
    for who, theirs in runs.items():
        if ours and who != AFTER and (ratio := ratio_over_seeds(ours, theirs, seed=seed)) is not None:
            rows.append(result_of(AFTER, KL_TO_TEACHER_RATIO, ratio, against=who, seeds=len(ours)))
    return rows


def _more(gauge: Gauge, found: TokenKls) -> dict[str, object]:
    left_out = {why: n for why, n in found.left_out.items() if n}
    more = {"against": gauge.against, "tokens": sum(kl.tokens for kl in found.kls.values())}
    return more | ({"left_out": left_out} if left_out else {})


def _tokenizer(name: str) -> Any:
    try:
        return load_tokenizer(name)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the tokenizer of {name} cannot be loaded: {first_line(error)}") from error


def _encoded(
    answers: Sequence[GivenAnswer], tokenizer: Any, system: str | None, most: int
) -> tuple[list[_Row], dict[str, int]]:
    """The rows that fit into `most` tokens, and how many of the others there are."""
    rows, left_out, special = list[_Row](), {"empty": 0, "too_long": 0}, special_ids(tokenizer)
    for answer in answers:
        thinking = "" if answer.reasoning is None else f"{OPEN}\n{answer.reasoning}\n{CLOSE}\n\n"
        said = (Message("assistant", f"{thinking}{answer.text}"),)
        prompt, ids = ids_of(SftRow(answer.task, with_system(answer.messages, system), said), tokenizer, special)
        if not answer.stopped:
            ids = ids[:-1]  # cut off: it never said the token that ends a turn
        if not ids:
            left_out["empty"] += 1
        elif len(prompt) + len(ids) > most:
            left_out["too_long"] += 1
        else:
            rows.append(_Row(answer.task, [*prompt, *ids], len(prompt)))
    return rows, left_out


def _kls(
    models: Sequence[Any], names: Sequence[str], rows: Sequence[_Row], vocabulary: int, device: str
) -> dict[str, TokenKl]:
    """`models`: the other one, then the student."""
    import torch

    from stillroom.students.whitebox.divergence import forward_kl
    from stillroom.students.whitebox.head import Head

    heads = [Head(model, vocabulary, name) for model, name in zip(models, names, strict=True)]
    size, found = max(1, MOST_LOGITS // (2 * vocabulary)), {}
    for row in rows:
        ids = torch.tensor([row.ids], device=device)  # (1, T)
        # A token is predicted from the one before it: (N, H) each, for the N tokens of the answer.
        other, student = (
            model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0, row.prompt - 1 : -1]
            for model in models
        )
        nats = 0.0
        for at in (slice(i, i + size) for i in range(0, len(other), size)):
            logits = heads[0].logits(other[at]), heads[1].logits(student[at])
            nats += float(forward_kl(student=logits[1], teacher=logits[0]))
        found[row.task] = TokenKl(nats, len(row.ids) - row.prompt)
    return found
