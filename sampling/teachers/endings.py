"""Why an answer ended, in the words of any server or recording: one table for all of them.

Servers differ in what they call the same thing: `stop`, `eos_token`, `end_turn`, `STOP` and `COMPLETE` all mean that
the model was done. Upper and lower case, hyphens, spaces and a prefix such as `FINISH_REASON_` make no difference. An
end that is a failure of the server (`error`, `abort`, `cancelled`) has no answer before it: what was written so far
is half a text. What stands in no table is `unknown` and never guessed at; `raw` keeps it for messages, and a recipe
can say what it means.

>>> ending_of("MAX_TOKENS").reason, ending_of("end_turn").reason, ending_of("error").failed
('length', 'stop', True)
>>> ending_of("weird"), ending_of("weird", {"weird": "stop"}).reason
(Ending(reason='unknown', raw='weird', failed=False), 'stop')
>>> ending_of(None).raw
'missing'

The names are those that the servers document: OpenAI (https://platform.openai.com/docs/api-reference/chat/object),
Anthropic (https://docs.anthropic.com/en/api/handling-stop-reasons), Gemini
(https://ai.google.dev/api/generate-content#FinishReason), Cohere (https://docs.cohere.com/reference/chat), Mistral
(https://docs.mistral.ai/api), Bedrock (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html)
and text-generation-inference (https://huggingface.co/docs/text-generation-inference).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from stillroom.common.files import storable
from stillroom.common.records import FinishReason

MISSING = "missing"
"""What an end is called that nobody gave a reason for."""
_LONGEST = 60  # characters of a raw value that are kept

_NAMES: dict[str, str] = {
    "stop": """
        stop stopped stop_sequence stop_sequences stop_word stop_words stop_token stop_str stop_string stop_id eos
        eos_token eos_id eos_found end end_id end_turn end_of_turn end_of_text end_of_sequence endoftext eot complete
        completed completion finish finished done im_end natural
    """,
    "length": """
        length max_tokens max_token max_length max_new_tokens max_output_tokens max_completion_tokens
        max_tokens_reached token_limit token_limit_reached tokens_limit length_limit model_length context_length
        context_length_exceeded model_context_window_exceeded limit truncated incomplete time_limit
    """,
    "content_filter": """
        content_filter content_filtered content_filter_triggered filter filtered safety image_safety blocked blocklist
        prohibited_content spii recitation refusal guardrail guardrails guardrail_intervened guardrail_blocked
        error_toxic sensitive moderation
    """,
    "failed": """
        error errored failed failure abort aborted cancel cancelled canceled user_cancel timeout timed_out error_limit
        server_error internal_error network_error insufficient_system_resource malformed_response
    """,
}
_TABLE = {name: meaning for meaning, names in _NAMES.items() for name in names.split()}
_PREFIX = re.compile(r"^(?:finish_?reason|stop_?reason)[._:]*")


class Ending(NamedTuple):
    """Why an answer ended. `raw`: what was said, where it is unknown or a failure, else empty. `failed`: the server
    gave up, so that what it wrote so far is not an answer."""

    reason: FinishReason
    raw: str = ""
    failed: bool = False


def ending_of(said: Any, named: Mapping[str, FinishReason] | None = None) -> Ending:
    """What `said` means. `named`: further names and what they mean, from a recipe; they come before the table."""
    if isinstance(said, dict):  # {"type": "length", "length": 512}, as SGLang writes it
        said = said.get("type")
    if said is None or said == {}:
        said = MISSING
    raw = " ".join(storable(said).split())[:_LONGEST] if isinstance(said, str) else type(said).__name__
    if not raw or raw.lower() in ("null", "none"):
        raw = MISSING
    own = named or {}
    if (meaning := own.get(raw) or own.get(_plain(raw))) is not None:
        return Ending(meaning)
    found = _TABLE.get(_plain(raw))
    if found == "failed":
        return Ending("unknown", raw, failed=True)
    return Ending("unknown", raw) if found is None else Ending(cast(FinishReason, found))


def _plain(raw: str) -> str:
    """`FinishReason.MAX_TOKENS`, `max-tokens`, `<|im_end|>` and `stopSequence` as the table has them."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", raw).lower()
    words = re.sub(r"[^a-z0-9]+", "_", words).strip("_")
    return _PREFIX.sub("", words) or words
