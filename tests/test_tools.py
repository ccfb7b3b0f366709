"""What `make check` finds: dead links, licences, known vulnerabilities, imports that point the wrong way. Prose in patterns."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from .test_setup import ROOT, load

check_links, list_licences, audit = load("check_links"), load("list_licences"), load("audit_dependencies")

# ---- dead links ------------------------------------------------------------------------------------------------------


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A README whose links are alive, a page, a notebook, and a folder that is not published."""
    for folder in ("docs", "notebooks", "runs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "README.md").write_text(
        "# Home\n\n[a](docs/page.md#what-it-costs-in-ms) [b](#home) [c](https://example.org/x)\n"
    )
    (tmp_path / "docs/page.md").write_text("# Page\n\n## What it `costs`, in ms\n\n## Twice\n\n## Twice\n\n<a id='here'></a>\n")
    (tmp_path / "docs/a b.png").write_bytes(b"")
    (tmp_path / "runs/index.html").write_text("")
    notebook = v4.new_notebook(
        cells=[v4.new_markdown_cell("# The Story\n\n![x](../docs/a%20b.png)"), v4.new_code_cell("# [a](b)")]
    )
    nbformat.write(notebook, tmp_path / "notebooks/01.ipynb")
    return tmp_path


def test_living_links_pass(pages: Path) -> None:
    assert check_links.dead_links(pages) == []


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("docs/pages.md", "there is no docs/pages.md"),
        ("docs/page.md#what-it-costs", "docs/page.md has no heading with this name"),
        ("#house", "README.md has no heading with this name"),
        ("docs/page.md#twice-2", "docs/page.md has no heading with this name"),
        ("notebooks/01.ipynb#The-Tale", "notebooks/01.ipynb has no heading with this name"),
        ("runs/index.html", "points to a file that is not published"),
        ("../elsewhere.md", "points outside the repository"),
    ],
)
def test_dead_links_are_found(pages: Path, link: str, why: str) -> None:
    for text in (f"[a]({link})", f"![a]({link})", f'<img src="{link}">', f"[a][1]\n\n[1]: {link}"):
        (pages / "README.md").write_text(f"# Home\n\n{text}\n")
        assert check_links.dead_links(pages) == [f"README.md: {link}: {why}"], text


@pytest.mark.parametrize(
    "link", ["docs/page.md#twice-1", "docs/page.md#here", "notebooks/01.ipynb#The-Story", "docs", "/docs/page.md"]
)
def test_other_forms_of_living_links(pages: Path, link: str) -> None:
    (pages / "README.md").write_text(f"# Home\n\n[a]({link})\n")
    assert check_links.dead_links(pages) == []


def test_links_in_notebooks_and_not_in_code(pages: Path) -> None:
    notebook = v4.new_notebook(
        cells=[v4.new_markdown_cell("# T\n\n[a](02.ipynb)\n\n`[b](03.ipynb)`\n\n```\n[c](04.ipynb)\n```")]
    )
    nbformat.write(notebook, pages / "notebooks/01.ipynb")
    assert check_links.dead_links(pages) == ["notebooks/01.ipynb: 02.ipynb: there is no notebooks/02.ipynb"]


# ---- licences --------------------------------------------------------------------------------------------------------


@pytest.fixture
def pinned(tmp_path: Path) -> Path:
    """A root with two pins and the page of their licences."""
    (tmp_path / "records").mkdir()
    (tmp_path / "requirements.txt").write_text("# pins\nnumpy==2.0\ntqdm==4.0\n")
    list_licences.write(tmp_path)
    return tmp_path


def test_the_page_of_licences_is_up_to_date_after_writing(pinned: Path) -> None:
    assert list(list_licences.problems(pinned)) == []
    assert "| tqdm | 4.0 | MPL-2.0 AND MIT |" in (pinned / "records/licences.md").read_text()
    assert {file.name for file in (pinned / "records").iterdir()} == {"licences.md"}


def test_another_version_makes_the_page_stale(pinned: Path) -> None:
    (pinned / "requirements.txt").write_text("numpy==2.1\ntqdm==4.0\n")
    assert list(list_licences.problems(pinned)) == [
        "records/licences.md is out of date: run python tools/list_licences.py --write"
    ]


def test_a_licence_that_is_not_allowed_is_named(pinned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_licences, "ALLOWED", {"MIT"})
    monkeypatch.setattr(list_licences, "READ_BY_HAND", {"numpy": "GPL-3.0-or-later", "tqdm": "MIT"})
    list_licences.write(pinned)
    (found,) = list_licences.problems(pinned)
    assert found.startswith("numpy: the licence GPL-3.0-or-later is not allowed")


def test_an_unknown_licence_and_a_missing_package_are_named(pinned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_licences, "ALLOWED", set())
    (found,) = list_licences.problems(pinned)
    assert found.startswith("numpy: unknown licence 'BSD-3-Clause")
    (pinned / "requirements.txt").write_text("no-such-package==1\n")
    assert list(list_licences.problems(pinned)) == ["no-such-package is in requirements.txt but not installed: run make setup"]


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True), ("GPL-3.0-or-later", False), ("GPL-2.0-only OR MIT", True), ("GPL-2.0-only AND MIT", False),
        ("Apache-2.0 WITH LLVM-exception AND (MIT OR ISC)", True), ("AGPL-3.0-only", False), ("MIT OR GPL-2.0-only", True),
    ],
)  # fmt: skip
def test_expressions(expression: str, allowed: bool) -> None:
    assert list_licences.allowed("some-package", expression) is allowed


def test_the_exceptions_are_still_needed() -> None:
    pins = list_licences.pins(ROOT)
    for name in list_licences.EXCEPTIONS:
        assert name in pins and list_licences.licence(name).startswith("GPL-")


# ---- known vulnerabilities -------------------------------------------------------------------------------------------


def report(*packages: dict) -> str:
    """pip-audit's JSON."""
    return json.dumps({"dependencies": list(packages), "fixes": []})


SOUND = {"name": "numpy", "version": "2.0", "vulns": []}
SKIPPED = {"name": "tqdm", "skip_reason": "Dependency not found on PyPI and could not be audited: tqdm (4.0)"}
FLAWS = [{"id": "PYSEC-1", "fix_versions": ["1.1"]}, {"id": "X-2", "fix_versions": []}]
FLAWED = {"name": "old", "version": "1.0", "vulns": FLAWS}


def test_a_sound_report_passes() -> None:
    assert audit.verdict(report(SOUND)) == (0, "vulnerabilities: none known in 1 packages")


def test_a_known_vulnerability_fails() -> None:
    status, text = audit.verdict(report(SOUND, SKIPPED, FLAWED))
    assert status == 1 and "old 1.0: PYSEC-1, fixed in 1.1" in text and "old 1.0: X-2, fixed in no version yet" in text


def test_an_index_that_does_not_answer_is_no_pass() -> None:
    """pip-audit ends with 'No known vulnerabilities found' there."""
    for silent in ("", report(SKIPPED), report()):
        status, text = audit.verdict(silent)
        assert status == 0 and "NOT CHECKED" in text and "none known" not in text
    status, text = audit.verdict(report(SOUND, SKIPPED))
    assert status == 0 and "NOT CHECKED, because the index does not answer: tqdm" in text and "none known in 1 packages" in text


@pytest.mark.parametrize(
    ("said", "result"), [("requests.exceptions.ConnectionError: no route", ""), ("ERROR: not a requirements file", None)]
)
def test_only_a_silent_network_is_forgiven(said: str, result: str | None, tmp_path: Path, monkeypatch) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho Traceback >&2; echo '{said}' >&2; exit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    if result is not None:
        assert audit.ask(tmp_path) == result
        return
    with pytest.raises(audit.AuditError, match="not a requirements file"):
        audit.ask(tmp_path)


# ---- imports ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("aasist_lib/audio/io.py", "from aasist_lib import training", "Packages import only from lower layers BROKEN"),
        ("aasist_lib/metrics/rates.py", "import torch", "metrics and plots do not import torch"),
        ("aasist_lib/stray.py", "", "aasist_lib.stray"),
        ("demo_corpus/channel.py", "import parselmouth", "Packages under the GPL are run as programs, never imported BROKEN"),
        ("aasist_lib/corpora/table.py", "import demo_corpus", "The library does not import demo_corpus"),
        ("aasist_lib/models/base.py", "import aasist_lib.models.aasist", "No import cycles inside a package BROKEN"),
        ("demo_corpus/channel.py", "from demo_corpus import gpl_worker", "under the GPL is never imported BROKEN"),
    ],
)
def test_imports_against_the_order_are_found(module: str, line: str, broken: str, tmp_path: Path) -> None:
    for package in ("aasist_lib", "demo_corpus"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / module).open("a") as stream:
        stream.write(f"\n{line}\n")
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and broken in done.stdout, done.stdout + done.stderr


# ---- error messages in tests -----------------------------------------------------------------------------------------

PROSE = re.compile(r"(?:\b[a-z]{2,}\b[ ,]+){3}[a-z]{2,}\b")


def prose_in_patterns(source: str) -> list[str]:
    """Return the constants passed as `match=` with more than three plain words in a row; commands in backticks are names."""
    passed = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.keyword) and node.arg == "match"]
    parts = [part.value for value in passed for part in ast.walk(value) if isinstance(part, ast.Constant)]
    return [part for part in parts if isinstance(part, str) and PROSE.search(re.sub("`[^`]*`", "", part))]


def test_tests_match_names_and_numbers_and_leave_the_prose_of_messages_free() -> None:
    found = {file: prose_in_patterns(file.read_text(encoding="utf-8")) for file in (ROOT / "tests").rglob("*.py")}
    assert len(found) > 100 and {str(file): patterns for file, patterns in found.items() if patterns} == {}


@pytest.mark.parametrize(
    ("pattern", "prose"),
    [
        ('r"mine\\.csv:3: .*label \'maybe\'"', False), ('"run `apt-get install build essential now`"', False),
        ('f"{path}: cannot be read as audio"', True), ('"choose one split and " + name', True),
    ],
)  # fmt: skip
def test_prose_in_a_pattern_is_found(pattern: str, prose: bool) -> None:
    assert bool(prose_in_patterns(f"pytest.raises(ValueError, match={pattern})")) == prose
