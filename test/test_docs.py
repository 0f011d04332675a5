"""The documents: the site builds, links lead somewhere, commands exist, quoted messages are said by the code."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from doc_commands import find_command, sartm_commands

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("sartm_core", "sartm_ros", "sartm_sim")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md")])
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """mkdocs --strict: every page is in the navigation, every link and anchor of the site leads somewhere."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "true"}
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env=environment)
    assert run.returncode == 0, run.stdout + run.stderr
    home = (tmp_path / "site" / "index.html").read_text()
    assert 'href="troubleshooting.html"' in home
    assert not re.search(r'(src|href)="https?://[^"]*(googleapis|gstatic|cdn)', home)  # readable offline


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_relative_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page}: {target}"


def check_command(words: list[str]) -> None:
    command, left = find_command(words)
    command.make_parser(command.context_class(command)).parse_args(list(left))  # raises for an unknown option


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_sartm_command_exists_with_its_options(page: Path) -> None:
    for words in sartm_commands(page):
        check_command(words)
        for word in words:
            if re.fullmatch(r"(training|config)/[\w/.]+", word):
                assert (ROOT / word).exists(), f"{page}: {word}"


def test_a_command_that_is_not_there_would_be_seen() -> None:
    with pytest.raises(Exception, match="--no-such"):
        check_command(["bag", "info", "drive", "--no-such"])
    with pytest.raises(AssertionError, match="there is no 'fly'"):
        check_command(["bag", "fly"])
    assert len([words for page in PAGES for words in sartm_commands(page)]) > 50


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_scripts_and_make_targets_exist(page: Path) -> None:
    text = page.read_text()
    for script in re.findall(r"python ((?:bench|training)/[\w/]+\.py)", text):
        assert (ROOT / script).is_file(), f"{page}: {script}"
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    for target in re.findall(r"(?:`|^)make ([a-z-]+)", text, re.M):
        assert target in targets, f"{page}: make {target}"


def said_by_the_code() -> str:
    """Every string of the packages, a line each; what is filled in is a space."""
    lines = []
    for path in (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                lines.append("".join(v.value if isinstance(v, ast.Constant) else " " for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                lines.append(node.value)
    return "\n".join(lines)


def test_troubleshooting_quotes_what_is_really_said() -> None:
    said = said_by_the_code()
    rows = re.findall(r"(?m)^\| ([^|]+) \|", (ROOT / "docs" / "troubleshooting.md").read_text())
    quotes = [quote for row in rows for quote in re.findall(r"`([^`]+)`", row) if " " in quote]
    assert len(quotes) >= 12
    for quote in quotes:
        if quote.startswith("ros2 "):
            continue
        for part in re.split(r"\.\.\.|: tensorrt was .*", quote):
            assert part.strip(" ,") in said, quote


def test_every_recipe_is_in_the_table() -> None:
    table = (ROOT / "docs" / "recipes.md").read_text()
    for recipe in (ROOT / "training" / "recipes").glob("*.yaml"):
        assert f"`{recipe.stem}`" in table, recipe.name
