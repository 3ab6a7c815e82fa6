"""Any OpenAI-compatible server as a teacher: its settings. The teacher itself is loaded when it is made.

>>> OpenAISettings(kind="openai", model="m", base_url="http://localhost:8000/v1").concurrency
64
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator, model_validator

from stillroom.common.records import FinishReason
from stillroom.common.secrets import is_key, names_a_secret, secrets_in
from stillroom.sampling.rate_limit import RateLimits
from stillroom.sampling.teachers.base import Teacher, TeacherBase, teachers
from stillroom.sampling.teachers.openai.batch import BatchSettings

VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
"""An environment variable in a value of `headers` or `query`."""
_OWN_HEADERS = {"content-type", "content-length", "host", "connection", "transfer-encoding", "accept-encoding"}
_OWNED = {
    "model": "use teacher.model",
    "messages": "they are the task's",
    "prompt": "it is the task's",
    "n": "keep says how many attempts a task gets, one a request",
    "stream": "use teacher.stream",
    "max_tokens": "use sampling.max_tokens",
    "max_completion_tokens": "use sampling.max_tokens, and max_tokens_field",
}


def no_address(url: str) -> str:
    """Why nothing can be reached at this address, whoever it names; empty where something might."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:  # brackets of IPv6 that do not close, a port that is not a number, or above 65535
        return str(error).partition("'")[0].strip()[:60] or "its host is none"  # what is quoted may be a secret
    if not url.isprintable() or any(c.isspace() for c in url):
        return "it holds a space or a character that cannot be seen"
    if not host:
        return "it names no host"
    return "its port is 0" if port == 0 else ""


@teachers.register
class OpenAISettings(TeacherBase):
    """Any OpenAI-compatible server."""

    kind: Literal["openai"]
    model: str = Field(min_length=1)
    """Name of the model on the server."""
    base_url: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Address of the server, or of several that serve the same model, used in balance; null: `OPENAI_BASE_URL`,
    else OpenAI itself."""
    name: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """What its answers are recorded under, where another server has another model of the same name; null: `model`."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; a local server needs none."""
    concurrency: int = Field(default=64, ge=1)
    """Requests in flight, over all servers together."""
    rate_limits: RateLimits = RateLimits()
    """Limits that the owner of the server sets, over all servers together."""
    timeout_s: float = Field(default=600.0, gt=0)
    """Time limit of a whole request, in seconds."""
    stream: bool = False
    """Receive answers in parts, to tell a stalled server from a long answer."""
    first_token_s: float | None = Field(default=None, gt=0)
    """Longest wait for the first part, in seconds; needs `stream`."""
    idle_s: float | None = Field(default=None, gt=0)
    """Longest wait for each further part, in seconds; needs `stream`."""
    send_seed: bool = True
    """Send a seed with each request; false for servers that refuse one."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Name of the token limit in requests, which servers differ on."""
    finish_reasons: dict[str, FinishReason] = Field(default_factory=dict)
    """What the server's own words for the end of an answer mean, where they are not known, such as `{weird: stop}`;
    `missing` is for servers that give none."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Further headers of each request. `$NAME` in a value is the environment variable, read when asking: a key is
    given in no other way, such as `{api-key: $AZURE_KEY}`."""
    query: dict[str, str] = Field(default_factory=dict)
    """What is put behind the address, as in `headers`, such as `{api-version: 2024-10-21}`."""
    ca_file: Annotated[str, Field(min_length=1)] | None = None
    """File with the certificate (PEM) of your own authority, which is trusted in addition to the usual ones."""
    organization: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Organisation that is billed, sent as `OpenAI-Organization`, such as `$MY_ORG`; null: `OPENAI_ORG_ID`."""
    project: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Project that is billed, sent as `OpenAI-Project`, such as `$MY_PROJECT`; null: `OPENAI_PROJECT_ID`."""
    ahead: bool | Annotated[int, Field(ge=0)] = True
    """Requests under way at most that may turn out not to be needed, and are cancelled then. They are started while
    slots are idle, to save time. `on` for any number; `off` for servers that bill what they began."""
    batch: bool | BatchSettings = False
    """Ask in files through the server's batch API, whose answers take hours and cost less; `on` for the defaults."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further keys of the request. They are kept with the run, so anything that looks like a secret is refused."""

    @field_validator("base_url")
    @classmethod
    def _addresses(cls, url: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        """Never repeats the address, which may hold a secret."""
        for one in (url,) if isinstance(url, str) else url or ():
            why = no_address(one)
            parts = urlsplit("" if why else one)
            if not one.startswith(("http://", "https://")) or one.startswith(("http:///", "https:///")):
                raise ValueError("base_url must begin with http:// or https://, such as http://localhost:8000/v1")
            if why:
                raise ValueError(f"base_url is not an address ({why}): it looks like http://localhost:8000/v1")
            if "@" in parts.netloc:
                raise ValueError("base_url holds a user name or password: put the key in an environment variable")
            if parts.query or parts.fragment:
                raise ValueError(
                    "base_url must end with its path: a key in a query belongs in an environment variable"
                )
        return url

    @model_validator(mode="after")
    def _streams(self) -> OpenAISettings:
        if not self.stream and (self.first_token_s is not None or self.idle_s is not None):
            raise ValueError("first_token_s and idle_s are about answers that come in parts: set stream: true")
        if self.batching is not None and self.stream:
            raise ValueError("answers of a batch do not come in parts: drop stream, or batch")
        if self.batching is not None and isinstance(self.base_url, tuple) and len(self.base_url) > 1:
            raise ValueError(f"a batch is with one server, and base_url names {len(self.base_url)}: name one")
        return self

    @property
    def batching(self) -> BatchSettings | None:
        """How it asks in batches; None where it asks at once."""
        return self.batch if isinstance(self.batch, BatchSettings) else BatchSettings() if self.batch else None

    @property
    def gathers(self) -> bool:
        return self.batching is not None

    @property
    def draws_ahead(self) -> bool | int:
        """Requests that may turn out not to be needed, at most."""
        return self.ahead if self.batching is None else self.batching.ahead

    @field_validator("api_key_env")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError("api_key_env is the name of an environment variable, never the key itself")
        return name

    @field_validator("extra_body")
    @classmethod
    def _no_key(cls, body: dict[str, Any]) -> dict[str, Any]:
        if (place := next(secrets_in(body), None)) is not None:
            raise ValueError(f"{place} looks like a secret: name its environment variable in api_key_env")
        for name, instead in _OWNED.items():
            if name in body and not (name == "n" and body[name] == 1):
                raise ValueError(f"extra_body.{name} is for the teacher to set: {instead}")
        return body

    @field_validator("organization", "project")
    @classmethod
    def _fits_a_header(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Never repeats the value, which may be a secret."""
        if value is not None and not (value.isascii() and value.isprintable()):
            raise ValueError(f"{info.field_name} holds characters that fit in no HTTP header")
        if value is not None and is_key(value):
            raise ValueError(f"{info.field_name} looks like a secret: give its environment variable, as $NAME")
        return value

    @model_validator(mode="after")
    def _once(self) -> OpenAISettings:
        given = {name.lower() for name in self.headers}
        for header, setting in (("openai-organization", "organization"), ("openai-project", "project")):
            if header in given and getattr(self, setting) is not None:
                raise ValueError(f"{setting} is given twice: leave {header} out of headers")
        return self

    @field_validator("headers", "query")
    @classmethod
    def _no_key_in_the_open(cls, given: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        """Never repeats a value, which may be a secret."""
        for name, value in given.items():
            place = f"{info.field_name}.{name}"
            if info.field_name == "headers" and not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", name):
                raise ValueError(f"{name[:40]!r} is not the name of a header")
            if info.field_name == "headers" and name.lower() in _OWN_HEADERS:
                raise ValueError(f"{place} is for the teacher to set: leave it out")
            if not value.isprintable():
                raise ValueError(f"{place} holds a line break or a character that cannot be seen")
            if not VARIABLE.search(value) and (names_a_secret(name) or is_key(value)):
                raise ValueError(
                    f"{place} looks like a secret: give the environment variable that holds it, as $NAME"
                )
        return given

    def make(self, base: Path) -> Teacher:
        from stillroom.sampling.teachers.openai.batch.teacher import BatchTeacher
        from stillroom.sampling.teachers.openai.teacher import OpenAITeacher

        if self.batching is not None:
            return BatchTeacher(self, base)
        return OpenAITeacher(self, base)
