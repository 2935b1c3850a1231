"""What README, CONTRIBUTING and docs name is there: files, links with their headings, names of the code."""

import re

import pytest
from conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
FILE = re.compile(r"(?<![\w/.{-])[\w.][\w/.-]*\.(?:py|yaml|sh|csv|toml)(?![\w/])")
FOLDERS = ("modeling_chromagan", "tests", "recipes", "benchmarks", "space", "docs", ".ci")
FILES = [*ROOT.glob("*.*"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.*"))]
PATHS = {f"/{path.relative_to(ROOT)}" for path in FILES}
WRITTEN = {"recipe.yaml", "report.csv"}  # by a training, by chromagan status
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in FILES if path.suffix in (".py", ".yaml"))


def without_code_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code_blocks(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_is_there(page):
    text = re.sub(r"https?://\S+", "", page.read_text(encoding="utf-8"))
    named = {name.removeprefix("../") for name in FILE.findall(text) if "NAME" not in name} - WRITTEN
    assert {name for name in named if not any(path.endswith(f"/{name}") for path in PATHS)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith("http")]
    for link in links:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/decisions.md", "docs/architecture.md"])
def test_every_name_of_the_code_is_still_one(name):
    text = without_code_blocks((ROOT / name).read_text(encoding="utf-8"))
    names = set(re.findall(r"`([A-Z]\w*|[a-z]+_\w+)(?:\(\))?`", text))
    recipes = {path.stem for path in (ROOT / "recipes").iterdir()}
    assert {name for name in names - recipes if not re.search(rf"\b{name}\b", SOURCE)} == set()
