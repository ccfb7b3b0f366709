"""Find dead links in the documentation and the notebooks, without network access.

    python tools/check_links.py            check every link to a file or a heading in this repository

A link must point to a file or folder in this repository, and its `#part` to a heading in that file. Web addresses are not
visited.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "*.md",
    "benchmarks/**/*.md",
    "configs/**/*.md",
    "data/README.md",
    "docs/**/*.md",
    "notebooks/*.ipynb",
    "records/**/*.md",
    "tests/**/*.md",
)
UNPUBLISHED = ("runs", ".venv")  # may exist locally, but are never in a clone
_PARSER = MarkdownIt("commonmark").enable("table")
_HTML_LINK = re.compile(r"""\b(?:href|src)=["']([^"']+)["']""")
_HTML_ANCHOR = re.compile(r"""\b(?:id|name)=["']([^"']+)["']""")


def texts(page: Path) -> list[str]:
    """Return the Markdown of a page: one text for a .md file, one text per Markdown cell for a notebook.

    Raises: UnicodeDecodeError, nbformat.ValidationError."""
    if page.suffix != ".ipynb":
        return [page.read_text(encoding="utf-8")]
    notebook = nbformat.read(page, as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def tokens(text: str) -> Iterator[Token]:
    """Yield every token of a Markdown text, including those inside paragraphs."""
    for token in _PARSER.parse(text):
        yield token
        yield from token.children or ()


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and images, as written."""
    found = []
    for token in (token for text in texts(page) for token in tokens(text)):
        if token.type in ("link_open", "image"):
            found.append(str(token.attrGet("href") or token.attrGet("src") or ""))
        elif token.type in ("html_inline", "html_block"):
            found += _HTML_LINK.findall(token.content)
    return found


def anchors(page: Path) -> set[str]:
    """Return the valid `#` anchors of a page: GitHub's heading anchors, in notebooks also JupyterLab's, and HTML ids."""
    names: set[str] = set()
    for text in texts(page):
        heading = False
        for token in tokens(text):
            if token.type in ("html_inline", "html_block"):
                names.update(_HTML_ANCHOR.findall(token.content))
            elif heading:
                names.add(_free(slug(token), names))
                if page.suffix == ".ipynb":
                    names.add(token.content.strip().replace(" ", "-"))
            heading = token.type == "heading_open"
    return names


def slug(heading: Token) -> str:
    """Return GitHub's anchor of a heading: its text in lower case, without punctuation, spaces as hyphens."""
    shown = "".join(part.content for part in heading.children or () if part.type in ("text", "code_inline"))
    return re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")


def _free(name: str, taken: set[str]) -> str:
    """Return a unique anchor: the second heading with the same name gets -1, the third -2."""
    number = 0
    while (numbered := f"{name}-{number}" if number else name) in taken:
        number += 1
    return numbered


def problem(page: Path, link: str, root: Path) -> str | None:
    """Return why a link of a page is dead; None if it is valid or points to the web."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    path = unquote(parts.path)
    base = root if path.startswith("/") else page.parent
    target = (base / path.lstrip("/")).resolve() if path else page
    if not target.is_relative_to(root):
        return "points outside the repository"
    if target.relative_to(root).parts[:1] in {(name,) for name in UNPUBLISHED}:
        return "points to a file that is not published"
    if not target.exists():
        return f"there is no {target.relative_to(root)}"
    if parts.fragment and target.suffix in (".md", ".ipynb") and unquote(parts.fragment) not in anchors(target):
        return f"{target.relative_to(root)} has no heading with this name"
    return None


def dead_links(root: Path) -> list[str]:
    """Return a line 'page: link: reason' for each dead link below `root`."""
    pages = sorted({page for pattern in PAGES for page in root.glob(pattern)})
    pairs = [(page, link) for page in pages for link in links(page)]
    found = [(page, link, problem(page, link, root)) for page, link in pairs]
    return [f"{page.relative_to(root)}: {link}: {why}" for page, link, why in found if why]


def main() -> int:
    """Print every dead link; return 1 if there is one."""
    found = dead_links(ROOT)
    print("\n".join(found) if found else "links: none is dead (web addresses were not visited)")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
