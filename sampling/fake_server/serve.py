"""Runs a fake server until it is interrupted, and shows what it is asked: what `stillroom fake-server` does.

serve(["limit_5_a_minute"], port=8123, show=print)
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from stillroom.common.printing import Table
from stillroom.sampling.fake_server.habits import GROUPS, grouped, habits
from stillroom.sampling.fake_server.server import FakeServer


def serve(
    names: Sequence[str] = (),
    *,
    port: int = 8123,
    text: str | None = None,
    minute_s: float = 60.0,
    show: Callable[[str], object],
) -> None:
    """Serves with these habits until SIGINT or SIGTERM; `show` gets each line.

    Raises InputError for an unknown habit, or a port that cannot be had.
    """
    server = FakeServer(names, text=text, minute_s=minute_s, log=lambda seen: show(seen.line()))
    asyncio.run(_until_stopped(server, port, show))


async def _until_stopped(server: FakeServer, port: int, show: Callable[[str], object]) -> None:
    await server.start(port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows: Ctrl-C raises KeyboardInterrupt there
            break
    try:
        for line in greeting(server):
            show(line)
        await stop.wait()
    finally:
        await server.close()
        show(summary(server))


def greeting(server: FakeServer) -> Iterator[str]:
    """What a user needs to know: the address, the habits, and what to put into a recipe."""
    names = ", ".join(habit.name for habit in server.habits) or "none: it behaves well"
    yield f"fake server at {server.url}, habits: {names}"
    for habit in server.habits:
        yield f"  {habit.name}: {habit.about}"
    more = "".join(f", {each}" for each in dict.fromkeys(habit.recipe for habit in server.habits if habit.recipe))
    yield f'recipe:   teacher: {{kind: openai, model: fake, base_url: "{server.url}"{more}}}'
    yield "Ctrl-C ends it"


def summary(server: FakeServer) -> str:
    """What it was asked in all."""
    by_status = ", ".join(f"{n:,} × {status or 'silence'}" for status, n in sorted(server.counts.items()))
    early = f"; {server.early:,} came before the time that they were told" if server.early else ""
    return f"{sum(server.counts.values()):,} requests ({by_status or 'none'}){early}"


def table() -> Iterator[str]:
    """All habits in Markdown, as the page about teachers has them."""
    for group, title in GROUPS.items():
        yield f"**{title}**"
        yield ""
        yield "| habit | what the server does | in the recipe |"
        yield "|---|---|---|"
        for habit in grouped()[group]:
            recipe = f"`{habit.recipe}`" if habit.recipe else ""
            yield f"| `{habit.name}` | {habit.about} | {recipe} |"
        yield ""


def listing() -> Group:
    """All habits, group by group; on a narrow terminal what one does goes on in the next line."""
    width, parts = max(map(len, habits())) + 2, list[RenderableType]()
    for group, title in GROUPS.items():
        table = Table.grid(padding=(0, 2))
        table.add_column(min_width=width, no_wrap=True)
        table.add_column()
        for habit in grouped()[group]:
            table.add_row(f"  {habit.name}", habit.about)
        parts += [Text(title, style="bold"), table, Text("")]
    return Group(*parts[:-1])
