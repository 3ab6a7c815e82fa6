"""The docs tell the truth about today's code."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from stillroom.pipeline.config.load import dump, load_any, load_recipe, shipped
from stillroom.pipeline.config.recipe import Recipe

ROOT = Path(__file__).parent.parent


def test_cli_page_is_what_the_program_says() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "cli_docs.py"))["text"]()
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == made, "run `make docs`"


def test_the_page_of_the_lint_is_what_the_lint_says() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "lint_docs.py"))["text"]()
    assert (ROOT / "docs" / "lint.md").read_text(encoding="utf-8") == made, "run `make docs`"


def test_the_page_of_the_keys_is_what_the_schema_says() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "recipe_docs.py"))["text"]()
    assert (ROOT / "docs" / "recipe-keys.md").read_text(encoding="utf-8") == made, "run `make docs`"


def test_the_table_of_habits_is_what_the_fake_server_has() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "fake_server_docs.py"))["text"]()
    assert (ROOT / "docs" / "fake-server.md").read_text(encoding="utf-8") == made, "run `make docs`"


def test_the_links_within_the_page_of_the_keys_lead_somewhere() -> None:
    page = (ROOT / "docs" / "recipe-keys.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    there = {heading.lower().replace(":", "").replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= there


@pytest.mark.parametrize("page", ["self_distillation.md"])
def test_the_loop_and_the_chain_that_a_page_shows_are_valid(page: str, tmp_path: Path) -> None:
    found = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL)
    kinds = []
    for number, yaml in enumerate(found):
        path = tmp_path / f"{number}.yaml"
        path.write_text(yaml, encoding="utf-8")
        kinds.append(type(load_any(path).recipe).__name__)
    assert kinds == ["LoopRecipe", "ProgressiveRecipe"]


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
