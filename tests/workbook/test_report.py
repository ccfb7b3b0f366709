"""The report: complete, escaped, and readable offline."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import nbformat
import pandas as pd
import pytest
from nbformat import v4

from aasist_lib.config import Profile
from aasist_lib.runtime.files import RunError
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.workbook.report import LARGEST_SVG, build

matplotlib.use("Agg")
MARKDOWN = r"""# Loss & <b>weights</b>

With $\alpha_t = 0.5$ the price is \$5 and `$x$` is code:

$$
\mathcal{L} = -\alpha_t (1 - p_t)^\gamma \log p_t
$$

```python
cost = "$a$"
```
## Why $\gamma$
"""
OUTPUTS = [
    v4.new_output("stream", name="stdout", text="epoch 1 <done>\n"),
    v4.new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {}, "text/plain": "HBox(hidden)"}),
    v4.new_output("display_data", data={"application/javascript": "alert(1)", "text/html": "<i>kept</i>"}),
    v4.new_output("display_data", data={"text/html": '<script src="https://cdn.example.org/x.js">go()</script><p>after</p>'}),
]


class Page(HTMLParser):
    """Collects the tags, attributes and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.tags, self.links, self.alts, self.ids, self.words = path, set(), [], [], set(), []
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Record the tag and its references."""
        values = dict(attributes)
        self.tags.add(tag)
        self.ids.add(values.get("id"))
        self.links += [(tag, values[name]) for name in ("src", "href", "srcset", "data") if name in values]
        if tag == "img":
            self.alts.append(values.get("alt"))

    def handle_data(self, data: str) -> None:
        """Record the text."""
        self.words.append(data)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run with a figure, a table, a summary and one executed notebook."""
    import matplotlib.pyplot as plt

    made = RunFolder.open(Profile(name="toy", title="Toy <run>", run_dir=tmp_path / "run"), tmp_path)
    monkeypatch.setenv("AASIST_NOTEBOOK", "03")
    figure, axes = plt.subplots(figsize=(2, 1))
    axes.plot([0, 1])
    made.save_figure(figure, "history", alt='falls to "9 %"', caption="Loss <and> EER")
    table = pd.DataFrame({"attack": ["<world>", "lpc"], "EER": [0.0791, None], "clips": [12, 13]})
    made.save_table(table, "by_attack", "EER by attack", {"EER": "{:.1%}"})
    made.save_summary([{"label": "EER & co", "value": "7.9 %", "note": "95 % interval"}])
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell(MARKDOWN), v4.new_code_cell("f(1)", outputs=OUTPUTS)])
    nbformat.write(notebook, made.path("notebooks", "03_training.ipynb"))
    made.sync()
    made.record_notebook("03", status="ok", file="03_training.ipynb", title="Training & loss", seconds=12.3)
    return made


def test_the_index_shows_everything_escaped(run: RunFolder) -> None:
    page = Page(build(run))
    for text in (
        "Toy <run>", "EER & co", "7.9 %", "95 % interval", "Training & loss", "in 12.3 s", "Loss <and> EER", "<world>",
        "7.9%", "–", "12", "learning_rate: 0.0001", "figures/history.svg", "torch==",
    ):  # fmt: skip
        assert text in page.text, text
    assert page.alts == ['falls to "9 %"']
    assert {"nav", "main", "details", "table"} <= page.tags
    assert {"notebook-03", "manifest", "figure-history"} <= page.ids


def test_no_page_needs_a_network_or_a_script(run: RunFolder) -> None:
    index = Page(build(run))
    pages = [index, Page(index.path.parent / "notebooks" / "03_training.html")]
    for page in pages:
        assert not page.tags & {"script", "iframe", "object", "embed"}
        for tag, target in page.links:
            if target.startswith("#"):
                assert target[1:] in page.ids, target
            elif not target.startswith("data:"):
                assert "://" not in target and (page.path.parent / target).exists(), (tag, target)
        assert "url(http" not in (text := page.path.read_text()) and "@import" not in text
        assert "prefers-color-scheme: dark" in text


def test_an_executed_notebook_becomes_a_page(run: RunFolder) -> None:
    build(run)
    page = Page(run.folder / "report" / "notebooks" / "03_training.html")
    text = page.path.read_text()
    assert text.count("<math") == 3 and 'display="block"' in text and "FORMULA" not in text
    assert "$x$" in page.text and 'cost = "$a$"' in page.text and "is $5 and" in page.text
    assert "epoch 1 <done>" in page.text and "HBox(hidden)" not in page.text
    assert "<i>kept</i>" in text and "<p>after</p>" in text and "go()" not in text and "alert(1)" not in text


def test_a_formula_brings_no_html_of_its_own(run: RunFolder, capsys) -> None:
    source = r"$\text{<img src=x onerror=alert(1)>}$ and $\text{<script>alert(2)</script>}$, but $\text{if } a < b$"
    path = run.path("notebooks", "03_training.ipynb")
    nbformat.write(v4.new_notebook(cells=[v4.new_markdown_cell(source)]), path)
    page = Page(build(run).parent / "notebooks" / "03_training.html")
    assert not page.tags & {"img", "script"} and page.path.read_text().count("<math") == 1
    assert r"\text{<script>alert(2)</script>}" in page.text
    assert "HTML tag <script>" in capsys.readouterr().err


def test_a_formula_that_cannot_be_read_is_shown_as_it_is_written(run: RunFolder, capsys) -> None:
    path = run.path("notebooks", "03_training.ipynb")
    nbformat.write(v4.new_notebook(cells=[v4.new_markdown_cell("$a_b_c$ and $b$")]), path)
    text = (build(run).parent / "notebooks" / "03_training.html").read_text()
    assert '<code class="formula-error">a_b_c</code>' in text and text.count("<math") == 1
    assert "03_training.ipynb: the formula 'a_b_c' cannot be rendered: DoubleSubscriptsError" in capsys.readouterr().err


def test_a_large_figure_is_embedded_as_png(run: RunFolder) -> None:
    with (run.folder / "figures/history.svg").open("a") as stream:
        stream.write(" " * LARGEST_SVG)
    images = [target for tag, target in Page(build(run)).links if tag == "img"]
    assert [image.partition(";")[0] for image in images] == ["data:image/png"]


def test_a_lost_figure_is_named(run: RunFolder) -> None:
    (run.folder / "figures/history.pdf").unlink()
    with pytest.raises(RunError, match=r"figures/history\.pdf; .*notebook 03"):
        build(run)


def test_a_run_that_never_started_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="manifest.json: "):
        build(RunFolder(tmp_path))
