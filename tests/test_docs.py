"""The docs tell the truth about today's code."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from stillroom.recipes.loading import dump, load_any, load_recipe, shipped
from stillroom.recipes.schema import Recipe

ROOT = Path(__file__).parent.parent


def test_cli_page_is_what_the_program_says() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "cli_docs.py"))["text"]()
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == made, "run `make docs`"


@pytest.mark.parametrize("name", shipped())
def test_shipped_recipes_are_valid_and_have_a_readme(name: str) -> None:
    loaded = load_any(name)
    assert loaded.recipe.name == name
    assert "stillroom run" in (loaded.path.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["README.md"])
def test_the_recipe_that_the_readme_shows_is_valid(page: str, tmp_path: Path) -> None:
    yaml = re.search(r"```yaml\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert yaml is not None
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml[1], encoding="utf-8")
    recipe = load_recipe(path).recipe
    path.write_text(dump(recipe), encoding="utf-8")
    assert load_recipe(path).recipe == recipe
    assert isinstance(recipe, Recipe)


def test_links_in_the_readme_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *ROOT.glob("recipes/*/README.md"), *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page}: {target}"
