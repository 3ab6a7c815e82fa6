"""One row per habit of the fake server: what reaches the ledger and the rows, what is said, how many requests it takes.

Each is tried whole and streamed. In all of them nobody comes back before the time that the server named, and every kept row
is a right answer with its thinking apart.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stillroom.errors import InputError, MissingKey, RunError, StillroomError, TeacherDown
from stillroom.sampling.fake_server.answers import SENTENCE, tokens_of
from stillroom.sampling.fake_server.habits import habits
from stillroom.sampling.fake_server.habits.content import THOUGHT
from tests.sampling.fake_server.trying import TASKS, Tried, try_habits

Least = int | tuple[int, int]
"""A number, or the least and the most."""


class Row(NamedTuple):
    """What comes of 12 sums. `said`: a pattern for what ended the run, or its last failure or refusal; "" for nothing. `good`: tasks
    with an accepted answer. `text`: a pattern of all texts in the ledger; None: each is the sum. `only`: streamed (True), or
    whole (False). `seconds`: by the clock of the server."""

    habit: str
    good: Least = TASKS
    requests: Least = TASKS
    said: str = ""
    error: type[StillroomError] | None = None
    refused: Least = 0
    failed: int = 0
    odd: int = 0
    estimated: int = 0
    finish: str = "stop"
    thought: str | None = None
    text: str | None = None
    seconds: tuple[float, float] = (0.0, 5.0)
    only: bool | None = None
    settings: dict[str, Any] = {}  # noqa: RUF012 - never changed
    sampling: dict[str, Any] = {}  # noqa: RUF012 - never changed
    tasks: int = TASKS


TWICE = 2 * TASKS
LOGPROBS = {"top_logprobs": 2}
ONE_PROMPT: dict[str, Any] = {"good": TASKS - 1, "requests": (TASKS, TASKS + 2), "failed": 3}
NOTHING: dict[str, Any] = {"good": 0, "requests": (4, 4), "text": "nothing"}
LAST_LIMIT = r"^HTTP 429: Rate limit reached\.$"


def limited(habit: str, seconds: float, said: str = LAST_LIMIT, **more: Any) -> Row:
    """429 once for each request, all of which wait as long as they are told."""
    return Row(habit, requests=TWICE, refused=TASKS, said=said, seconds=(seconds, 13 * seconds + 2), **more)


def once(habit: str, **more: Any) -> Row:
    """A fault once for each request, which is asked again."""
    return Row(habit, requests=TWICE, **more)


WAITS = [
    limited("retry_after_seconds", 2.0),
    limited("retry_after_date", 2.0),
    limited("retry_after_ms", 1.5),
    limited("retry_after_proxied", 2.0),
    limited("ratelimit_reset_duration", 360.0),
    limited("ratelimit_reset_proxied", 26.42),
    limited("ratelimit_reset_epoch", 7.0),
    limited("ratelimit_reset_iso", 7.0),
    limited("retry_info_grpc", 26.0, "HTTP 429: You exceeded your current quota"),
    limited("retry_info_proxied", 26.0, "HTTP 429: litellm.RateLimitError"),
    limited("try_again_in_text", 26.42, r"try again in 26\.42s"),
    limited("retry_after_in_text", 26.0, "Please retry after 26 seconds"),
    limited("retry_after_in_body", 26.0),
    limited("cooldown_in_words", 5.0, "No deployments available"),
    Row("retry_after_zero", requests=3 * TASKS, refused=2 * TASKS, said=LAST_LIMIT),
    Row("429_html", requests=TWICE, refused=TASKS, said="HTTP 429: an HTML page: Error 1015", seconds=(0.0, 60.0)),
    Row("limit_5_a_minute", requests=(13, 24), refused=(1, 12), said="limit 5 / min", seconds=(120.0, 130.0)),
    Row("limit_5_undated", requests=(13, 60), refused=(1, 48), said="5 requests at a time", seconds=(120.0, 300.0)),
    Row("429_without_date", requests=TWICE, refused=TASKS, said="Too many requests", seconds=(0.0, 60.0)),
    limited("429_in_200", 2.0, "HTTP 429: no chat completion but an error: Slow down"),
    Row(
        "retry_after_a_day",
        **NOTHING | {"requests": (3, 8)},
        error=TeacherDown,
        failed=4,
        said="come back in 24 h 00 min.*Everything answered is kept",
    ),
    Row("quota_used_up", **NOTHING, error=TeacherDown, said="HTTP 429: .*account's quota is used up"),
    Row("402_no_credit", **NOTHING, error=TeacherDown, said="HTTP 402: Insufficient credits.*account's quota"),
    once("529_overloaded"),
    once("503_html"),
    once("503_retry_after", seconds=(2.0, 30.0)),
    once("524_html"),
    once("408_once"),
    Row("500_now_and_then", requests=(14, 16)),
]
FAULTS = [
    Row("403_for_one_prompt", **ONE_PROMPT, said=r"^HTTP 403: This prompt was blocked by our policy\.$"),
    Row("html_page_for_one_prompt", **ONE_PROMPT, said="^HTTP 403: an HTML page: Blocked .*Ray ID 7"),
    Row("200_html_for_one_prompt", **ONE_PROMPT | {"requests": 20}, said="body is not JSON.*Please sign in"),
    Row("401_for_one_prompt", **ONE_PROMPT, said=r"^HTTP 401: Not for this prompt\.$"),
    Row("too_long_for_one_prompt", **ONE_PROMPT, said="^HTTP 400: This model's maximum context length is 8192"),
    Row("filtered_for_one_prompt", **ONE_PROMPT, said="^HTTP 400: The response was filtered"),
    Row("500_for_one_prompt", **ONE_PROMPT | {"requests": 20}, said="^HTTP 500: Internal server error$"),
    Row(
        "401_always", **NOTHING, error=MissingKey, said=r"answered 401 \(Incorrect API key.*OPENAI_API_KEY is not set"
    ),
    Row(
        "401_everywhere",
        **NOTHING | {"requests": 2},
        error=MissingKey,
        said=r"answered 401 \(Incorrect API key\.\), as its list of models did, .*the key was refused",
    ),
    Row("403_always", **NOTHING, error=MissingKey, said=r"answered 403 \(an HTML page: Access denied", failed=2),
    Row("404_path", **NOTHING, error=InputError, said=r"HTTP 404: Not Found\).*teacher.base_url"),
    Row("404_model", **NOTHING, error=InputError, said=r"HTTP 404: The model `fake` does not exist.*teacher.model"),
    Row(
        "400_always",
        **NOTHING | {"requests": (12, 16)},
        error=TeacherDown,
        said="12 requests in a row.*HTTP 400: bad",
        failed=12,
    ),
    Row(
        "500_always",
        **NOTHING | {"requests": (36, 40)},
        error=TeacherDown,
        said="HTTP 500: Internal server",
        failed=12,
    ),
    once("error_as_text"),
    once("error_in_200"),
    once("error_in_choice"),
    once("error_mid_stream", only=True),
    Row("error_mid_stream", only=False),
    once("error_event", only=True),
    Row("error_event", only=False),
]
UNKNOWN: dict[str, Any] = {"good": (0, TASKS), "error": RunError, "finish": "unknown"}
ENDINGS = [
    Row("finish_stop_words"),
    Row("finish_length_words", good=0, finish="length", text="(?!.*####).{10,}"),
    Row("finish_filter_words", good=0, finish="content_filter"),
    once("finish_failed_words"),
    Row("finish_unknown_always", **UNKNOWN, said=r"first 10 answers.*'glorp'.*finish_reasons: \{glorp"),
    Row("finish_null", **UNKNOWN, said=r"'missing'.*finish_reasons: \{missing"),
    Row("finish_null", finish="stop", settings={"finish_reasons": {"missing": "stop"}}),
    Row("finish_missing", **UNKNOWN, said="'missing'"),
    Row("finish_empty", **UNKNOWN, said="'missing'"),
    Row("finish_object"),
    Row("finish_in_camel_case"),
    Row("finish_native_only", good=0, finish="length", text="(?!.*####).{10,}"),
    Row("finish_empty_in_each_part"),
    Row("tool_calls_only", **UNKNOWN | {"good": 0}, said="'tool_calls'", text=""),
]
FIELDS = [
    Row("usage_missing", estimated=TASKS),
    Row("usage_null", estimated=TASKS),
    Row("usage_negative", estimated=TASKS, odd=TASKS),
    Row("usage_float", estimated=TASKS, odd=TASKS),
    Row("usage_text", estimated=TASKS, odd=TASKS),
    Row("usage_huge", estimated=TASKS, odd=TASKS),
    Row("usage_zero", estimated=TASKS),
    Row("usage_list", estimated=TASKS, odd=TASKS),
    Row("usage_in_each_part"),
    Row("logprobs_null", sampling=LOGPROBS, odd=TASKS),
    Row("logprobs_missing", sampling=LOGPROBS, odd=TASKS),
    Row("logprobs_null_token", sampling=LOGPROBS, odd=TASKS),
    Row("logprobs_neg_inf", sampling=LOGPROBS, odd=TASKS),
    Row("logprobs_positive", sampling=LOGPROBS, odd=TASKS),
    Row("logprobs_no_top", sampling=LOGPROBS),
    Row("id_missing"),
    Row("created_as_string"),
    Row("object_missing"),
    Row("model_other"),
    Row("role_missing"),
    Row("index_missing"),
    Row("more_fields"),
]
WORDLESS: dict[str, Any] = {"good": 0, "requests": (36, 40), "error": TeacherDown, "failed": 12, "text": "nothing"}
CONTENT = [
    Row("content_parts"),
    Row("content_object"),
    Row("content_with_image"),
    Row("content_number", **WORDLESS, said="the content of the message is a int without words"),
    Row("thinking_parts", thought=THOUGHT),
    Row("reasoning_content", thought=THOUGHT),
    Row("reasoning_text", thought=THOUGHT),
    Row("reasoning_content_object", thought=THOUGHT),
    Row("reasoning_details", thought=THOUGHT),
    Row("reasoning_list", thought=THOUGHT),
    Row("reasoning_object", thought=THOUGHT),
    Row("reasoning_encrypted", odd=TASKS),
    Row("thinking_blocks", thought=THOUGHT),
    Row("think_tags_in_content", thought=THOUGHT),
    # The ledger keeps the text as it came; the rows have the thinking apart.
    Row("think_tag_closed_only", thought=THOUGHT, text=re.escape(f"{THOUGHT}\n</think>\n\n") + r".*#### \d+"),
    Row("think_never_closed", good=0, finish="length", thought=THOUGHT, text=""),
    Row("thought_only", good=0, finish="length", thought=THOUGHT, text=""),
    Row("thought_only_stopped", good=0, thought=THOUGHT, text=""),
    Row("lone_surrogate", text=r".*#### \d+�"),
    Row("control_characters", text=".*#### \\d+\x00\x1b\\[2J"),
    Row("empty_content", good=0, text=""),
    Row("null_content", good=0, text=""),
    Row("refusal", text=r"I cannot help with that\."),
    once("no_choices"),
    once("choices_null"),
    Row("extra_choices"),
    Row("fewer_choices"),
    Row("json_in_fences", text=r'```json\n\{"answer": ".*\\n#### \d+"\}\n```'),
    Row("huge_answer", tasks=1, good=1, requests=1, text=r".*#### 40\n(word )+"),
]
REFUSED: dict[str, Any] = {**NOTHING, "error": InputError}
PARAMETERS = [
    Row("refuses_temperature"),
    Row(
        "refuses_temperature",
        **REFUSED,
        sampling={"temperature": 0.5},
        said="remove or change teacher.sampling.temperature",
    ),
    Row("refuses_temperature", requests=(13, 16), sampling={"temperature": 1.0}),
    Row("refuses_temperature_but_1", **REFUSED, sampling={"temperature": 0.5}, said=r"Only the default \(1\) value"),
    Row("refuses_temperature_but_1", sampling={"temperature": 1.0}),
    Row("refuses_top_p"),
    Row("refuses_top_p", **REFUSED, sampling={"top_p": 0.9}, said="remove or change teacher.sampling.top_p"),
    Row("wants_max_completion_tokens", requests=(13, 16)),
    Row("wants_max_tokens", requests=(13, 16), settings={"max_tokens_field": "max_completion_tokens"}),
    Row("refuses_seed", requests=(13, 16)),
    Row("refuses_seed", settings={"send_seed": False}),
    Row("refuses_stream_options", only=False),
    Row("refuses_stream_options", only=True, requests=(13, 16), estimated=TASKS),
    Row("refuses_stop"),
    Row("refuses_stop", **REFUSED, sampling={"stop": ("Q:",)}, said="remove or change teacher.sampling.stop"),
    Row("refuses_n"),
    Row("refuses_logprobs", **REFUSED, sampling=LOGPROBS, said="remove or change teacher.sampling.logprobs"),
    Row("refuses_response_format", **REFUSED, sampling={"json_schema": "{}"}, said="teacher.sampling.json_schema"),
    Row("refuses_system"),
    Row("refuses_unknown", only=False, requests=(13, 16)),
    Row("refuses_unknown", only=True, requests=(14, 20), estimated=TASKS),
    Row("refuses_unknown_quoted", only=False, requests=(13, 16)),
    Row("refuses_many_tokens", sampling={"max_tokens": 16}),
    Row(
        "refuses_many_tokens",
        **NOTHING | {"requests": (12, 16)},
        error=TeacherDown,
        failed=12,
        said="HTTP 400: max_tokens is too large: 1024",
    ),
    Row("ignores_n"),
    Row("ignores_logprobs", sampling=LOGPROBS, odd=TASKS),
    Row("needs_header", settings={"headers": {"api-key": "$FAKE_KEY"}}),
    Row(
        "needs_header",
        **NOTHING,
        error=MissingKey,
        said=r"answered 401 \(Access denied due to missing subscription key",
    ),
    Row("needs_query", settings={"query": {"api-version": "2024-10-21"}}),
    Row("needs_query", **NOTHING, error=InputError, said="HTTP 404: Resource not found"),
    *(
        row
        for name in ("needs_stream", "needs_stream_to_think", "needs_stream_detail")
        for row in (Row(name, only=True), Row(name, only=False, requests=(13, 16)))
    ),
]
STREAMS = [
    *(
        Row(name)
        for name in (
            "crlf_stream",
            "cr_stream",
            "stream_without_done",
            "stream_comments",
            "stream_event_names",
            "stream_without_space",
            "stream_several_lines",
            "stream_filter_first",
            "stream_filter_last",
            "stream_message",
            "stream_bom",
            "stream_end_with_words",
            "stream_null_fields",
            "stream_null_choices",
            "stream_empty_data",
            "stream_pings",
            "stream_byte_by_byte",
            "stream_ignored",
            "stream_always",
        )
    ),
    Row("stream_null_end", only=True, **UNKNOWN, said="'missing'"),
    once("stream_broken_off", only=True),
    once("stream_torn", only=True),
]
CONNECTION = [
    *(
        once(name)
        for name in (
            "body_not_json",
            "body_empty",
            "body_null",
            "body_cut",
            "body_broken_off",
            "wrong_content_length",
            "connection_reset",
            "connection_reset_midway",
        )
    ),
    Row("closes_keep_alive"),
    once("stalls", settings={"timeout_s": 30}, seconds=(30.0, 400.0)),
    once("silent", settings={"timeout_s": 30}, seconds=(30.0, 400.0)),
    once("silent", only=True, settings={"first_token_s": 7}, seconds=(7.0, 200.0)),
    Row("slow_first_byte", seconds=(15.0, 20.0)),
    Row("drip", seconds=(10.0, 20.0)),
    Row("redirect_same_host", requests=TWICE),
    Row("redirect_other_host", good=0, requests=(1, 16), text="nothing", error=StillroomError, said="redirect"),
    Row("redirect_loop", good=0, requests=(6, 200), text="nothing", error=StillroomError, said="redirect"),
    Row("gzip_answer"),
    Row(
        "gzip_bomb",
        tasks=1,
        good=0,
        requests=9,
        text="nothing",
        failed=3,
        said="longer than 64 MiB",
        seconds=(0.0, 60.0),
    ),
    Row("bom"),
    Row("json_padded", seconds=(0.0, 15.0)),
    Row("json_then_done"),
    Row("text_plain"),
    Row("no_content_type"),
    Row("without_length"),
]
MODELS = [
    Row(name)
    for name in (
        "models_401",
        "models_404",
        "models_403",
        "models_500",
        "models_html",
        "models_empty",
        "models_other",
        "models_plain_list",
        "models_big",
    )
] + [Row(name, seconds=(10, 30)) for name in ("models_hangs", "models_stalls", "models_endless")]
TABLE = [*WAITS, *FAULTS, *ENDINGS, *FIELDS, *CONTENT, *PARAMETERS, *STREAMS, *CONNECTION, *MODELS]
CASES = [(row, stream) for row in TABLE for stream in (False, True) if row.only in (None, stream)]


def within(value: int, wanted: Least) -> bool:
    least, most = (wanted, wanted) if isinstance(wanted, int) else wanted
    return least <= value <= most


@pytest.mark.parametrize(
    ("row", "stream"), CASES, ids=[f"{row.habit}-{'streamed' if s else 'whole'}" for row, s in CASES]
)
def test_a_habit(row: Row, stream: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("FAKE_KEY", "some-key-a1B2c3D4")
    settings = {"stream": stream, **row.settings}
    tried = try_habits(tmp_path, monkeypatch, row.habit, tasks=row.tasks, sampling=row.sampling, **settings)

    assert (tried.error is None) if row.error is None else isinstance(tried.error, row.error)
    assert re.search(row.said, tried.said, re.DOTALL) if row.said else tried.said == ""
    assert within(tried.satisfied, row.good)
    assert within(tried.requests, row.requests)
    assert within(tried.counts.refused, row.refused)
    assert row.seconds[0] <= tried.took_s
    assert tried.jumped_s <= row.seconds[1]
    assert tried.early == 0
    assert (tried.counts.odd, tried.counts.estimated) == (row.odd, row.estimated)
    if row.error is None:
        assert tried.counts.failed == row.failed
    _check_ledger(row, tried)
    _check_rows(row, tried)


def _check_ledger(row: Row, tried: Tried) -> None:
    if row.text == "nothing":
        assert tried.attempts == []
        return
    if row.error is None:
        assert len(tried.attempts) == row.tasks - bool(row.failed)
    for attempt in tried.attempts:
        text = rf".*#### {int(attempt.task_id) + 40}" if row.text is None else row.text
        assert re.fullmatch(text, attempt.text, re.DOTALL)
        assert attempt.finish_reason == row.finish
        assert attempt.latency_s >= 0
        if row.habit != "think_tag_closed_only":
            assert attempt.reasoning == row.thought
        if row.estimated:
            assert attempt.prompt_tokens > 0
            assert attempt.completion_tokens > 0
        elif row.text is None:
            assert (attempt.prompt_tokens, attempt.completion_tokens) == (5, len(tokens_of(attempt.text)))
        wanted = bool(row.sampling.get("top_logprobs")) and not row.odd
        assert (attempt.logprobs is not None) == wanted


def _check_rows(row: Row, tried: Tried) -> None:
    assert len(tried.traces) == tried.satisfied
    for trace in tried.traces:
        assert trace.reasoning == row.thought
        assert "<think>" not in trace.answer
        assert "</think>" not in trace.answer
        if row.text is None or "####" in row.text:
            assert f"#### {int(trace.task.id) + 40}" in trace.answer.replace("\\n", "\n")


def test_each_habit_has_a_row() -> None:
    assert {row.habit for row in TABLE} == set(habits())
    assert len(habits()) >= 60


def test_the_table_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that behaves well is none of these: a row whose habit does nothing is found out."""
    tried = try_habits(tmp_path, monkeypatch)
    assert (tried.satisfied, tried.requests, tried.said, tried.error) == (TASKS, TASKS, "", None)
    assert tried.jumped_s < 5
    assert SENTENCE not in {attempt.text for attempt in tried.attempts}
