"""The base of everything that a recipe sets: an unknown key is refused, and nothing changes once it was read."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Settings, which are frozen and know all their keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
