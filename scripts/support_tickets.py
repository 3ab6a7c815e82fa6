"""Makes the tickets and the recording of the recipe support_labels: python scripts/support_tickets.py FOLDER

Nobody's tickets and no model's answers: sentences put together by rule, and labels drawn by rule, all from one seed.
A clear ticket names one concern; a mixed one names a second in passing, and its gold label is the first. The recorded
"teacher" answers each ticket five times: on a clear ticket a draw is wrong 1 time in 25, on a mixed one it names the
second concern 3 times in 10, on a hard mixed one 6 times in 10; 1 draw in 40 gives no single label. The
recording holds each answer twice: as a word, and with a sentence of reasoning before it.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

SEED = 16
DRAWS = 5
TICKETS = 240
LABELS = ("billing", "delivery", "account", "fault", "cancel", "feature")

WORDS: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
"""The sentences: `concerns` and `why` by label, and what goes into them."""


def tickets(dice: random.Random) -> list[dict[str, Any]]:
    """Tickets with their gold label; `second` and `hard` decide what the recording says and stay out of the file."""
    found: dict[str, dict[str, Any]] = {}
    while len(found) < TICKETS:
        label, second = dice.sample(LABELS, 2)
        kind = dice.choices(("clear", "mixed", "hard"), (70, 20, 10))[0]
        said = concern(dice, label)
        if kind != "clear":
            said += dice.choice((", and by the way, ", ". Also, ", ", which is why I ask: ")) + concern(dice, second)
        opening = dice.choice(WORDS["openings"])
        text = opening + (said if opening else said[0].upper() + said[1:]) + "."
        text += dice.choice(WORDS["closings"]).format(name=dice.choice(WORDS["names"]))
        found.setdefault(text, {"ticket": text, "label": label, "second": second, "kind": kind})
    return list(found.values())


def concern(dice: random.Random, label: str) -> str:
    """One sentence about one concern."""
    numbers = {"sum": f"{dice.randint(5, 90)}.{dice.randint(10, 99)} EUR", "days": dice.randint(3, 14)}
    sentence, what = dice.choice(WORDS["concerns"][label]), dice.choice(WORDS["what"])
    return str(sentence.format(what=what, code=f"E{dice.randint(10, 99)}", **numbers))


def answer(dice: random.Random, ticket: dict[str, Any]) -> tuple[str, str]:
    """What the recorded teacher says: in a word, and with a sentence of reasoning."""
    label, second = ticket["label"], ticket["second"]
    if dice.random() < 1 / 40:
        text = dice.choice(WORDS["unclear"]).format(a=label, b=second)
        return text, text
    wrong = {"clear": 1 / 25, "mixed": 3 / 10, "hard": 6 / 10}[ticket["kind"]]
    if dice.random() < wrong:
        label = second if ticket["kind"] != "clear" else dice.choice([each for each in LABELS if each != label])
    why = WORDS["why"][label]
    return label, f"{why}\nLabel: {label}"


def lines(rows: list[dict[str, Any]]) -> str:
    """JSON Lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main(folder: Path) -> None:
    """Writes both files."""
    dice = random.Random(SEED)
    made = tickets(dice)
    rows, said = list[dict[str, Any]](), list[dict[str, Any]]()
    for number, ticket in enumerate(made, 1):
        name = f"ticket-{number:03d}"
        rows.append({"id": name, "ticket": ticket["ticket"], "label": ticket["label"]})
        answers = {f"draw{index}": answer(dice, ticket) for index in range(DRAWS)}
        parts = {
            part: {draw: each[n] for draw, each in answers.items()} for n, part in enumerate(("word", "reasoned"))
        }
        said.append({"task_id": name, **parts})
    folder.mkdir(parents=True, exist_ok=True)
    for name, of in (("tickets", rows), ("recording", said)):
        (folder / f"{name}.jsonl").write_text(lines(of), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
