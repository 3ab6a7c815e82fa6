"""Builds the teacher that a recipe names. Each kind's module is imported only when it is asked for."""

from __future__ import annotations

from pathlib import Path

from stillroom.sampling.teachers.base import Teacher
from stillroom.sampling.teachers.settings import (
    OpenAISettings,
    RecordedSettings,
    TeacherSettings,
    TransformersSettings,
    VllmSettings,
)


def make_teacher(settings: TeacherSettings, *, base: Path) -> Teacher:
    """The teacher of `settings`; relative paths in it start at `base`. Loads no model yet.

    Raises MissingExtra, MissingKey or MissingFile.
    """
    match settings:
        case OpenAISettings():
            return _openai(settings)
        case TransformersSettings():
            from stillroom.sampling.teachers.transformers import TransformersTeacher

            s = settings
            return TransformersTeacher(s.model, concurrency=s.concurrency, dtype=s.dtype, device=s.device)
        case VllmSettings():
            from stillroom.sampling.teachers.vllm import VllmTeacher

            v = settings
            return VllmTeacher(v.model, concurrency=v.concurrency, dtype=v.dtype, engine=v.engine)
        case RecordedSettings():
            from stillroom.sampling.teachers.recorded import RecordedTeacher

            return RecordedTeacher(settings, base=base)


def _openai(s: OpenAISettings) -> Teacher:
    from stillroom.sampling.teachers.openai import OpenAITeacher

    return OpenAITeacher(
        s.model,
        base_url=s.base_url,
        name=s.name,
        api_key_env=s.api_key_env,
        concurrency=s.concurrency,
        timeout_s=s.timeout_s,
        stream=s.stream,
        first_token_s=s.first_token_s,
        idle_s=s.idle_s,
        rate_limits=s.rate_limits,
        send_seed=s.send_seed,
        max_tokens_field=s.max_tokens_field,
        extra_body=s.extra_body,
    )
