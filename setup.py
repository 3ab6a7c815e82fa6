"""The list of packages; everything else is in pyproject.toml.

The rooms are folders at the repository's root and are installed as `stillroom.<room>`: bare top-level
packages named `traces` or `judges` would overwrite other distributions of those names.
"""

from setuptools import find_packages, setup

ROOMS = [
    "common",
    "sampling",
    "traces",
    "judges",
    "preferences",
    "students",
    "evaluation",
    "report",
    "pipeline",
    "recipes",
]
nested = [f"stillroom.{p}" for room in ROOMS for p in find_packages(include=[room, f"{room}.*"])]
setup(packages=["stillroom", "stillroom.cli", *nested], package_dir={f"stillroom.{r}": r for r in ROOMS})
