"""Known methods of white-box distillation by name: `preset:` of the method `distil`.

    student: {method: distil, model: …, teacher: …, preset: gkd}
    student: {method: distil, model: …, teacher: …, preset: {kind: soft_labels, alpha: 0.5, temperature: 4}}

A preset gives defaults: a key that the recipe sets goes before them, keys within `on_policy` included. It is
spelled out when the recipe is read, so the resolved recipe shows the settings and no preset.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter

from stillroom.common.settings import Settings


class SoftLabels(Settings):
    """Hinton et al. 2015 (arXiv:1503.02531): the teacher's distribution at a temperature, and the rows' tokens."""

    kind: Literal["soft_labels"] = "soft_labels"
    alpha: float = Field(default=0.7, gt=0, le=1)
    """Weight of the teacher's distribution; the rows' tokens have the rest."""
    temperature: float = Field(default=2.0, gt=0, le=100)
    """Of the distributions."""

    def settings(self) -> dict[str, Any]:
        """What it stands for."""
        soft = {"kind": "soft", "temperature": self.temperature, "weight": self.alpha}
        hard = [] if self.alpha == 1 else [{"kind": "hard", "weight": round(1 - self.alpha, 12)}]
        return {"objectives": [soft, *hard]}


class Gkd(Settings):
    """Agarwal et al. 2023 (arXiv:2306.13649): the generalised JSD, on rows and on the student's own answers."""

    kind: Literal["gkd"] = "gkd"
    beta: float = Field(default=0.5, gt=0, lt=1)
    """Share of the teacher in the mixture."""
    share: float = Field(default=0.5, gt=0, le=1)
    """Of the student's own answers."""

    def settings(self) -> dict[str, Any]:
        """What it stands for."""
        jsd = {"kind": "jsd", "beta": self.beta}
        return {"objectives": [jsd], "on_policy": {"share": self.share, "objective": jsd}}


class Sdft(Settings):
    """Shenfeld et al. 2026 (arXiv:2601.19897): the base, shown the answer, teaches itself on its own answers."""

    kind: Literal["sdft"] = "sdft"

    def settings(self) -> dict[str, Any]:
        """What it stands for. The objectives of rows play no part at a share of 1; they are there for a lower one."""
        return {
            "teacher": "base",
            "teacher_reference": True,
            "objectives": [{"kind": "soft"}],
            "on_policy": {"share": 1.0, "objective": {"kind": "reverse_kl"}},
        }


def _by_name(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


AnyPreset = Annotated[
    Annotated[SoftLabels | Gkd | Sdft, Field(discriminator="kind")],
    BeforeValidator(_by_name, json_schema_input_type=Literal["soft_labels", "gkd", "sdft"] | SoftLabels | Gkd | Sdft),
]


def spelled_out(values: Any) -> Any:
    """Settings with those of their preset in the place of what they do not give, and without the preset."""
    if not isinstance(values, Mapping) or values.get("preset") is None:
        return values
    preset: SoftLabels | Gkd | Sdft = TypeAdapter(AnyPreset).validate_python(values["preset"])
    given = {key: value for key, value in values.items() if key != "preset"}
    found = preset.settings() | given
    if isinstance(own := given.get("on_policy"), Mapping):
        found["on_policy"] = preset.settings().get("on_policy", {}) | dict(own)
    return found
