"""What a finding of the lint means: the record, and the sources that several of them have.

    Meaning(title="rows without a label", severity="error", ignored="…", source="…", advice="…")

A source is an issue of trl or transformers that shows the failure, a paper, or the reasoning itself.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

TRL = "https://github.com/huggingface/trl"
CHAT = "https://huggingface.co/docs/transformers/chat_templating"
RANGE = "https://github.com/huggingface/transformers/issues/12763"


class Meaning(NamedTuple):
    """`title`: what is counted. `ignored`: what happens to a student that is trained all the same. `source`: where
    that is shown, or reasoned. `advice`: what to do."""

    title: str
    severity: Literal["error", "warning"]
    ignored: str
    source: str
    advice: str
