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

CONCERNS: dict[str, tuple[str, ...]] = {
    "billing": (
        "I was charged twice for {what} this month",
        "the invoice for {what} shows the wrong VAT number",
        "my card was debited {sum} although I paid by transfer",
        "you billed {what} at the old price",
        "there is a fee of {sum} on my statement that I cannot explain",
        "the discount on {what} is missing from the invoice",
    ),
    "delivery": (
        "{what} has not arrived after {days} days",
        "the courier left {what} with a neighbour who does not exist",
        "tracking for {what} has not moved for {days} days",
        "only half of my parcel with {what} was in the box",
        "please send {what} to my new address instead",
        "{what} was delivered to the wrong floor and is gone",
    ),
    "account": (
        "I cannot log in since {days} days ago",
        "the reset mail for my password never comes",
        "please change the mail address of my account",
        "my account is locked after {days} wrong codes",
        "I lost the phone with my second factor",
        "my profile still shows my old name",
    ),
    "fault": (
        "{what} stopped working after {days} days",
        "{what} shows error {code} when it starts",
        "the display of {what} flickers",
        "{what} gets hot and turns itself off",
        "the app crashes with error {code} when I open {what}",
        "the battery of {what} lasts {days} minutes",
    ),
    "cancel": (
        "I want to end my subscription for {what}",
        "please cancel the order of {what} before it ships",
        "stop the renewal of {what}, I do not need it any more",
        "I withdraw from the contract for {what} within the {days} days",
        "close my plan for {what} at the end of the month",
        "I do not want {what} any longer, take it off my plan",
    ),
    "feature": (
        "it would help if {what} could be used offline",
        "please add a dark mode to {what}",
        "can {what} get an export to CSV",
        "I miss a way to share {what} with my team",
        "would you consider a smaller version of {what}",
        "please let {what} remember my last settings",
    ),
}
WHAT = ("the kettle", "the smart lamp", "the family plan", "my order", "the scale", "the music bundle", "the router")
OPENINGS = ("Hello, ", "Hi, ", "Good morning, ", "", "Dear team, ", "To whom it may concern: ")
CLOSINGS = ("", " Thanks.", " Please answer soon.", " This is the second time I write.", " Regards, {name}")
NAMES = ("Ada", "Jonas", "Mei", "Priya", "Tomás", "Ewa")
WHY = {
    "billing": "The customer disputes a charge or an invoice.",
    "delivery": "The customer waits for goods or asks where they go.",
    "account": "The customer asks about access or personal data.",
    "fault": "The customer has a product that does not work.",
    "cancel": "The customer wants to end an order or a contract.",
    "feature": "The customer asks for something that is not there yet.",
}
UNCLEAR = ("It could be {a} or {b}.", "I cannot tell.", "{a} and {b}")


def tickets(dice: random.Random) -> list[dict[str, Any]]:
    """Tickets with their gold label; `second` and `hard` decide what the recording says and stay out of the file."""
    found: dict[str, dict[str, Any]] = {}
    while len(found) < TICKETS:
        label, second = dice.sample(LABELS, 2)
        kind = dice.choices(("clear", "mixed", "hard"), (70, 20, 10))[0]
        said = concern(dice, label)
        if kind != "clear":
            said += dice.choice((", and by the way, ", ". Also, ", ", which is why I ask: ")) + concern(dice, second)
        opening = dice.choice(OPENINGS)
        text = opening + (said if opening else said[0].upper() + said[1:]) + "."
        text += dice.choice(CLOSINGS).format(name=dice.choice(NAMES))
        found.setdefault(text, {"ticket": text, "label": label, "second": second, "kind": kind})
    return list(found.values())


def concern(dice: random.Random, label: str) -> str:
    """One sentence about one concern."""
    numbers = {"sum": f"{dice.randint(5, 90)}.{dice.randint(10, 99)} EUR", "days": dice.randint(3, 14)}
    return dice.choice(CONCERNS[label]).format(what=dice.choice(WHAT), code=f"E{dice.randint(10, 99)}", **numbers)


def answer(dice: random.Random, ticket: dict[str, Any]) -> tuple[str, str]:
    """What the recorded teacher says: in a word, and with a sentence of reasoning."""
    label, second = ticket["label"], ticket["second"]
    if dice.random() < 1 / 40:
        text = dice.choice(UNCLEAR).format(a=label, b=second)
        return text, text
    wrong = {"clear": 1 / 25, "mixed": 3 / 10, "hard": 6 / 10}[ticket["kind"]]
    if dice.random() < wrong:
        label = second if ticket["kind"] != "clear" else dice.choice([each for each in LABELS if each != label])
    return label, f"{WHY[label]}\nLabel: {label}"


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
