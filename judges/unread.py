"""Stops a judge that nobody can read, before more is paid for.

Ten replies in a row without a verdict say that the prompt, the limit of tokens or the model does not fit; a thousand
more would say the same. So once the row is full, nothing more is asked, and the message shows two of the replies.
Until something was read, no more requests are in flight than it takes to fill the row.

Replies that are on record fill the row, too: the same command stops again at once, without paying. They stop nobody
who asks for nothing more. A judge that declines, or a request that failed, says nothing about how replies read.

    row = UnreadRow("openai:m", most=10)
    await row.before_asking()                    # raises RunError once ten in a row could not be read
    row.take("Sure! A 4, I would say.", "no rating such as [[clear: 5]]", paid=True)
"""

from __future__ import annotations

import asyncio

from stillroom.common.printing import shown
from stillroom.errors import RunError

MOST_UNREAD = 10
"""Replies in a row that could not be read, after which a judge stops."""
# Characters of a reply that a message shows.
_SHOWN = 160


class UnreadRow:
    """The replies of one judge that could not be read, as far as they came in a row. `most`: None stops nobody."""

    def __init__(self, judge: str, most: int | None = MOST_UNREAD) -> None:
        self._judge, self._most = judge, most
        self._row: list[str] = []
        self._read_any = False
        self._in_flight = 0
        self._news = asyncio.Event()

    async def before_asking(self) -> None:
        """Returns when one more may be paid for. Raises RunError once the row is full."""
        if self._most is None:
            return
        while not self._read_any and 0 < self._most - len(self._row) <= self._in_flight:
            await self._news.wait()
        if len(self._row) >= self._most:
            raise self._stopped()
        self._in_flight += 1

    def take(self, reply: str, why: str, *, paid: bool) -> None:
        """Takes a reply that could not be read. `paid`: it was asked for in this call."""
        if self._most is None or len(self._row) < self._most:
            text = f'"{shown(reply, _SHOWN)}"' if reply.strip() else "an empty reply"
            self._row.append(f"{text} ({shown(why, _SHOWN)})")
        self._settle(paid)

    def read(self, *, paid: bool) -> None:
        """A reply was read: the row ends."""
        self._row.clear()
        self._read_any = True
        self._settle(paid)

    def passed(self, *, paid: bool) -> None:
        """A request ended in a way that says nothing about how replies read."""
        self._settle(paid)

    def _settle(self, paid: bool) -> None:
        self._in_flight = max(0, self._in_flight - paid)
        self._news.set()
        self._news = asyncio.Event()

    def _stopped(self) -> RunError:
        two = " and ".join(list(dict.fromkeys(self._row))[-2:])
        return RunError(
            f"{len(self._row)} replies in a row of the judge {self._judge} could not be read; nothing more is asked. "
            f"The last ones: {two}. What was read is kept. Correct the judge's prompt (its rubric, or structured: "
            "true), raise its teacher.sampling.max_tokens if replies are cut off, or choose another model; then run "
            "the same command with --retry failures, which asks for these again. max_unread is the limit, null for "
            "none"
        )
