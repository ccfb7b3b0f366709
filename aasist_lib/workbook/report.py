"""The report: `report/index.html` in a run folder, and one page per executed notebook; it works offline.

The pages embed their styles and images and need no scripts; their content security policy blocks all scripts, whatever the
names of clips and attacks contain. The content comes from the manifest: figures (`RunFolder.save_figure`) and tables
(`save_table`) in the order they were saved, and key numbers (`save_summary`).
"""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from aasist_lib.runtime.files import RunError, atomic
from aasist_lib.runtime.run_folder import RunFolder

LARGEST_SVG = 600_000  # bytes; above it a page embeds the PNG
_MATH = re.compile(r"\$\$(?P<block>.+?)\$\$|(?<![\\$])\$(?P<inline>[^\s$](?:[^$\n]*[^\s$\\])?)\$(?![\d$])", re.DOTALL)
_CODE = re.compile(r"(```.*?```|~~~.*?~~~|``.*?``|`[^`\n]*`)", re.DOTALL)
_TOKEN = re.compile(r"FORMULA\d{5}END")
_TAG = re.compile(r"</?\s*([^\s/>]*)")
_MATHML = set(
    "math menclose mfrac mi mn mo mover mpadded mphantom mroot mrow mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr "
    "munder munderover".split()
)
_DROPPED = ("application/vnd.jupyter.widget-view+json", "application/javascript")


def build(run: RunFolder) -> Path:
    """Write the report of a run, with one page per executed notebook, and return the path of its index.

    Raises:
        RunError: there is no manifest, or a listed figure or table has no file.
    """
    manifest = run.manifest
    pages = {number: _page(run, manifest, record) for number, record in manifest["notebooks"].items()}
    owners = {facts["notebook"] for facts in manifest["exhibits"].values()}
    numbers = sorted(owners | set(manifest["notebooks"]))
    index = run.path("report", "index.html")
    values = {
        "title": manifest["title"],
        "facts": _facts(manifest),
        "summary": [item for file in sorted(run.folder.glob("metrics/summary_*.json")) for item in run.read_json(file)],
        "sections": [_section(run, manifest, number, pages.get(number)) for number in numbers],
        "config": yaml.safe_dump(manifest["config"], sort_keys=False, allow_unicode=True),
        "machine": yaml.safe_dump({key: manifest[key] for key in ("device", "git", "python")} | _notes(manifest)),
        "artefacts": manifest["artefacts"],
        "packages": manifest["packages"],
    }
    _write(index, "index.html", values)
    return index


# ---- index -----------------------------------------------------------------------------------------------------------


def _facts(manifest: Mapping[str, Any]) -> list[str]:
    commit, gpus = manifest["git"]["commit"], manifest["device"]["gpus"]
    state = " with local changes" if manifest["git"]["dirty"] else ""
    device = gpus[0] if gpus else f"{manifest['device']['cpu']}, {manifest['device']['cores']} cores"
    written = f"{manifest['updated'][:16].replace('T', ' ')} UTC"
    facts = [f"run {manifest['name']}", f"seed {manifest['seed']}", written, device]
    return facts + ([f"commit {commit[:10]}{state}"] if commit else [])


def _notes(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {"notes": manifest["notes"]} if manifest.get("notes") else {}


def _section(run: RunFolder, manifest: Mapping[str, Any], number: str, page: str | None) -> dict[str, Any]:
    record = manifest["notebooks"].get(number, {})
    title = record.get("title") or (f"Notebook {number}" if number != "-" else "Outside the notebooks")
    short = re.sub(r"[-_]", " ", Path(record.get("file", "")).stem) or title
    exhibits = [
        _figure(run, key, facts) if key.startswith("figure/") else _table(run, key, facts)
        for key, facts in manifest["exhibits"].items()
        if facts["notebook"] == number
    ]
    facts = {"id": f"notebook-{number.strip('-') or 'other'}", "title": title, "short": short, "exhibits": exhibits}
    return facts | {"status": record.get("status"), "seconds": record.get("seconds"), "page": page}


def _figure(run: RunFolder, key: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    name = key.partition("/")[2]
    files = [f"figures/{name}.{suffix}" for suffix in ("svg", "png", "pdf")]
    if missing := [file for file in files if not (run.folder / file).is_file()]:
        raise RunError(f"{run.folder}: missing {', '.join(missing)}; run notebook {facts['notebook']} again")
    suffix = "svg" if (run.folder / files[0]).stat().st_size <= LARGEST_SVG else "png"
    content = base64.b64encode((run.folder / f"figures/{name}.{suffix}").read_bytes()).decode()
    image = f"data:image/{'svg+xml' if suffix == 'svg' else 'png'};base64,{content}"
    return {"id": f"figure-{name}", "image": image, "files": files, "alt": facts["alt"], "caption": facts["caption"]}


def _table(run: RunFolder, key: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    name, columns, formats = key.partition("/")[2], facts["columns"], facts["formats"]
    records = run.read_json(f"metrics/{name}.json")
    rows = [[_cell(record[column], formats.get(column)) for column in columns] for record in records]
    numeric = [bool(rows) and all(row[place]["number"] for row in rows) for place in range(len(columns))]
    heads = [{"name": column, "number": number} for column, number in zip(columns, numeric, strict=True)]
    files = [f"metrics/{name}.csv", f"metrics/{name}.json"]
    caption = {"id": f"table-{name}", "caption": facts["caption"], "files": files}
    return caption | {"image": None, "columns": heads, "rows": rows}


def _cell(value: Any, pattern: str | None) -> dict[str, Any]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None:
        return {"text": "–", "number": True}
    if pattern:
        return {"text": pattern.format(value), "number": number}
    return {"text": f"{value:.4g}" if isinstance(value, float) else str(value), "number": number}


# ---- executed notebooks ----------------------------------------------------------------------------------------------


def _page(run: RunFolder, manifest: Mapping[str, Any], record: Mapping[str, Any]) -> str | None:
    """Convert one executed notebook; return the page's address relative to the index, or None if it was not executed."""
    import nbformat
    from nbconvert import HTMLExporter

    executed = run.folder / "notebooks" / record["file"]
    if not executed.is_file():
        return None
    notebook = nbformat.read(executed, as_version=4)
    formulae: dict[str, Markup] = {}
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _take_math(cell.source, formulae, record["file"])
        elif cell.cell_type == "code":
            cell.outputs = list(_offline(cell.outputs))
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    body = re.sub(r"<script\b[^>]*>.*?</script\s*>|<(?:link|meta|base)\b[^>]*>", "", body, flags=re.DOTALL | re.IGNORECASE)
    body = re.sub(r'="[^"]*"', lambda found: _TOKEN.sub("", found.group()), body)  # a heading's id may contain a token
    body = _TOKEN.sub(lambda found: formulae[found.group()], body)
    name = f"notebooks/{executed.stem}.html"
    content = Markup(body)  # nosec B704  # nbconvert escaped the texts, and scripts are removed above
    values = {"title": record.get("title", executed.stem), "run": manifest["title"], "content": content}
    _write(run.path("report", name), "notebook.html", values)
    return name


def _offline(outputs: Sequence[Any]) -> Iterator[Any]:
    """Drop outputs that need a script; a widget is dropped with its plain-text placeholder."""
    for output in outputs:
        data = output.get("data", {})
        if any(kind in data for kind in _DROPPED):
            for kind in _DROPPED:
                data.pop(kind, None)
            if set(data) <= {"text/plain"}:
                continue
        yield output


def _take_math(source: str, formulae: dict[str, Markup], origin: str) -> str:
    """Replace the formulae of a markdown text, outside code, by tokens that markdown leaves unchanged."""

    def token(found: re.Match[str]) -> str:
        name = f"FORMULA{len(formulae):05d}END"
        formulae[name] = _mathml(found, origin)
        return name

    parts = _CODE.split(source)  # odd parts are code
    return "".join(part if place % 2 else _MATH.sub(token, part) for place, part in enumerate(parts))


def unreadable_formulae(source: str) -> list[str]:
    """List the formulae of a markdown text that cannot be rendered, each with the reason."""
    formulae = (found for place, part in enumerate(_CODE.split(source)) if place % 2 == 0 for found in _MATH.finditer(part))
    drawn = ((_latex(found)[0], _drawn(found)) for found in formulae)
    return [f"{latex!r} ({reason})" for latex, reason in drawn if not isinstance(reason, Markup)]


def _mathml(found: re.Match[str], origin: str) -> Markup:
    drawn = _drawn(found)
    if isinstance(drawn, Markup):
        return drawn
    latex, _ = _latex(found)
    print(f"{origin}: the formula {latex!r} cannot be rendered: {drawn}", file=sys.stderr)
    return Markup('<code class="formula-error">{}</code>').format(latex)


def _latex(found: re.Match[str]) -> tuple[str, bool]:
    """Return a formula's text, and whether it is a display formula."""
    block = found["block"] is not None
    return (found["block"] if block else found["inline"]).strip(), block


def _drawn(found: re.Match[str]) -> Markup | str:
    """Render a formula as MathML, or return why it cannot be rendered."""
    from latex2mathml import exceptions
    from latex2mathml.converter import convert

    its_own = [kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    unreadable: tuple[type[Exception], ...] = (*its_own, ValueError, LookupError, TypeError)
    latex, block = _latex(found)
    try:
        written = convert(latex, display="block" if block else "inline")
    except unreadable as error:
        return f"{type(error).__name__} {error}"
    if foreign := set(_TAG.findall(written)) - _MATHML:  # latex2mathml does not escape the content of \text{…}
        return f"HTML tag <{'>, <'.join(sorted(foreign))}>"
    return Markup(written)  # nosec B704  # checked above: MathML only


# ---- writing ---------------------------------------------------------------------------------------------------------


def _write(path: Path, template: str, values: Mapping[str, Any]) -> None:
    environment = Environment(loader=PackageLoader("aasist_lib.workbook"), autoescape=True, undefined=StrictUndefined)
    style = (Path(__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
    sheet = Markup(style)  # nosec B704  # a file of this package
    text = environment.get_template(template).render(style=sheet, **values)
    with atomic(path) as file:
        file.write_text(text, encoding="utf-8")
