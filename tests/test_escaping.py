"""HTML escaping: names of clips, speakers, attacks and files remain text wherever the workbook writes HTML."""

from __future__ import annotations

import html
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile
from IPython.display import HTML
from matplotlib import pyplot as plt
from nbformat import v4

from aasist_lib.config import Profile
from aasist_lib.config.augmentation import catalogue
from aasist_lib.explore import AugmentationPlayground, ClipExplorer, RecordingExplorer, ThresholdExplorer, distortion_tour
from aasist_lib.metrics import Calibration
from aasist_lib.models import AASIST, build_model
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.scoring.detector import Detector
from aasist_lib.workbook.report import build

matplotlib.use("Agg")
ROOT = Path(__file__).parents[1]
NAMES = (
    "<script>document.title='ran'</script>",
    '"><img src=x onerror="document.title=\'ran\'">',
    "</td></figure></pre><svg onload=document.title='ran'>",
    "'-->]]></title></style><script>document.title='ran'</script>",
)
"""Strings that break out of text, an attribute, a table cell, and a comment."""
FILE_NAME = "\"'><img src=x onerror=document.title='ran'>&amp;.wav"


class Tags(HTMLParser):
    """Collects scripts, event handlers and non-data addresses of a page (`bad`), and its text (`words`)."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.bad: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Record anything that could run or load code."""
        for name, value in attributes:
            outside = name == "src" and not (value or "").startswith("data:")
            if name.startswith("on") or outside or (value or "").strip().lower().startswith("javascript:"):
                self.bad.append(f"<{tag} {name}={value}>")
        if tag in ("script", "iframe", "object", "embed", "base", "form"):
            self.bad.append(f"<{tag}>")

    def handle_data(self, data: str) -> None:
        """Record the text."""
        self.words.append(data)


def harmless(page: str | None, *shown: str) -> None:
    """Assert that a page runs nothing and shows these texts verbatim."""
    assert page is not None
    tags = Tags(page)
    assert tags.bad == []
    text = "".join(tags.words)
    assert [name for name in shown if name not in text] == []


@pytest.fixture
def model(tiny_profile: Profile) -> AASIST:
    return build_model(tiny_profile.model).eval()


@pytest.fixture
def scores(tiny_corpus: Path) -> pd.DataFrame:
    """The toy corpus's dev split with malicious names."""
    trials = pd.read_parquet(tiny_corpus / "trials.parquet").query("split == 'dev'").reset_index(drop=True)
    names = [NAMES[row % len(NAMES)] + str(row) for row in range(len(trials))]
    attacks = [attack if attack == "-" else name for attack, name in zip(trials["attack"], names, strict=True)]
    return trials.assign(
        utt_id=names, attack=attacks, speaker=names, split="</option>" + NAMES[0], score=np.arange(len(trials))
    )


def run_of(profile: Profile, folder: Path) -> RunFolder:
    """Create a run with malicious names wherever the report shows names; also used by `tests/browser/test_escape.py`."""
    run = RunFolder.open(profile.model_copy(update={"title": NAMES[3], "name": "names", "run_dir": folder}))
    figure, axes = plt.subplots(figsize=(3, 2))
    axes.set(title=NAMES[3], xlabel=NAMES[0], ylabel=NAMES[1])
    axes.plot([0, 1], label=NAMES[2])
    axes.legend()
    shown = [run.save_figure(figure, "names", alt=NAMES[1], caption=NAMES[2])]
    table = pd.DataFrame({NAMES[0]: [1.5, 2.0], "attack": NAMES[:2], "speaker": NAMES[2:]})
    shown.append(run.save_table(table, "names", NAMES[1], {NAMES[0]: "{:.1f}"}))
    run.save_summary([{"label": NAMES[0], "value": NAMES[1], "note": NAMES[2]}])
    run.annotate(device=NAMES[0])
    run.write_text(f"metrics/{FILE_NAME}", "x")
    outputs = [v4.new_output("display_data", data={"text/html": item._repr_html_(), "text/plain": "-"}) for item in shown]
    outputs.append(v4.new_output("stream", name="stdout", text="\n".join(NAMES)))
    outputs.append(v4.new_output("error", ename=NAMES[0], evalue=NAMES[1], traceback=list(NAMES)))
    notebook = v4.new_notebook(cells=[v4.new_code_cell(f"# {NAMES[3]}", outputs=outputs)])
    nbformat.write(notebook, run.path("notebooks", "03_training.ipynb"))
    run.sync()
    run.record_notebook("03", status="ok", file="03_training.ipynb", title=NAMES[1], seconds=1.0)
    build(run)
    return run


def test_the_report_and_an_executed_notebook(tiny_profile: Profile, tmp_path: Path) -> None:
    run = run_of(tiny_profile, tmp_path / "run")
    index = (run.folder / "report" / "index.html").read_text()
    harmless(index, *NAMES, f"metrics/{FILE_NAME}")
    page = (run.folder / "report" / "notebooks" / "03_training.html").read_text()
    harmless(page, *NAMES)
    for text in (index, page):
        assert text.count("Content-Security-Policy") == 1 and "default-src 'none'" in text and "script-src" not in text


def test_figures_as_svg(tiny_profile: Profile, tmp_path: Path) -> None:
    """The report links to SVG figures, and a browser would run scripts in them."""
    run = run_of(tiny_profile, tmp_path / "run")
    harmless((run.folder / "figures" / "names.svg").read_text())


def test_outputs_that_hold_code_all_the_same(tiny_profile: Profile, tmp_path: Path) -> None:
    """As in a user's own cell: scripts and external references are dropped; event handlers are blocked by the policy."""
    run = run_of(tiny_profile, tmp_path / "run")
    path = run.path("notebooks", "03_training.ipynb")
    html_of = (
        '<SCRIPT async>x()</SCRIPT ><meta http-equiv="refresh" content="0;url=https://x"><base href="https://x"><i>kept</i>'
    )
    output = v4.new_output("display_data", data={"text/html": html_of})
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell("x", outputs=[output])]), path)
    build(run)
    text = (run.folder / "report" / "notebooks" / "03_training.html").read_text()
    assert "<i>kept</i>" in text and "https://x" not in text and "x()" not in text


def test_the_explorer_of_clips(model: AASIST, scores: pd.DataFrame) -> None:
    explorer = ClipExplorer(model, scores, 5.0)
    for place in (1, 2):
        clip = explorer.scores.iloc[place]
        harmless(explorer.page(clip, "nodes"), *({clip["attack"]} - {"-"}))
    split, show, _ = explorer.widget().children[0].children
    assert {type(control).__name__ for control in (split, show)} == {"Dropdown"}  # a page shows their options as text


def test_the_explorer_of_recordings(model: AASIST, tmp_path: Path) -> None:
    facts = {"encoder": {"name": NAMES[0]}, "dev_eer": 0.1, "calibration": {"bonafide": 9, "spoof": 9}}
    detector = Detector(model, 0.0, Calibration(2.0, 0.5), facts)
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / FILE_NAME, 0.1 * rng.standard_normal(20_000), 16_000)
    broken = tmp_path / f"broken {FILE_NAME}"
    broken.write_bytes((tmp_path / FILE_NAME).read_bytes()[:9000])
    explorer = RecordingExplorer(detector, [tmp_path / FILE_NAME, broken])
    harmless(explorer.html(FILE_NAME, 0.5))
    harmless(explorer.html(broken.name, 0.5), broken.name)
    memory = io.BytesIO()
    soundfile.write(memory, 0.1 * rng.standard_normal(20_000), 16_000, format="WAV")
    inside = tmp_path / "kept"
    name = explorer.add(f"../../{inside}/{FILE_NAME}", memory.getvalue())
    assert name == f"{FILE_NAME} (uploaded)" and not inside.exists()
    harmless(explorer.html(name, 0.5))


def test_the_playground_the_tour_and_the_threshold(model: AASIST, scores: pd.DataFrame) -> None:
    wave = (0.1 * np.random.default_rng(0).standard_normal(8_000)).astype(np.float32)
    items = [item for item in catalogue() if item.kind == "gain"]
    playground = AugmentationPlayground(model, {NAMES[1]: wave}, items)
    harmless(playground.html(NAMES[1], [("gain", 1.0)]))
    harmless(distortion_tour(wave, items[0], (0.0, 1.0), NAMES[1]).data)
    harmless(ThresholdExplorer(scores, NAMES[1])._image(0))


def test_tables_that_notebooks_show(scores: pd.DataFrame) -> None:
    harmless(scores[["utt_id", "attack", "speaker"]]._repr_html_(), NAMES[0][:20])


def test_what_a_checkpoint_says_of_itself(model: AASIST) -> None:
    """Run the cell of notebook 07 that shows the caution; the checkpoint may come from a third party."""
    on = {"title": NAMES[0], "corpus": NAMES[1], "bonafide": 1, "spoof": 2, "speakers": 1}
    detector = Detector(model, 0.0, None, {"encoder": {"name": NAMES[2]}, "dev_eer": 0.1, "trained_on": on})
    (cell,) = [source for source in code_cells("07_score_recordings") if "caution()" in source]
    shown: list[Any] = []
    exec(cell, {"html": html, "HTML": HTML, "display": shown.append, "detector": detector})
    harmless(shown[0].data, *NAMES[:3])


def test_no_other_cell_makes_markup_of_what_it_read() -> None:
    """Markdown and pandas' Styler do not escape HTML, so notebooks use them only for their own text."""
    using = {
        f"{file.name[:2]}: {source.splitlines()[-1].strip()}"
        for file in (ROOT / "notebooks").glob("*.ipynb")
        for source in code_cells(file.stem)
        if "Markdown(" in source or ".style" in source
    }
    assert using == {
        '04: pd.DataFrame(explain.CURVES.items(), columns=["map", "what it is"]).style.hide(axis="index")',
        '04: signed.style.hide(axis="index")',
        '06: Markdown("\\n".join([verdict, "", *(f"- {sentence}." for sentence in ablation.findings(summary.steps))]))',
    }, "a new one: does it show names? Then show a plain DataFrame, or HTML with html.escape"


def code_cells(notebook: str) -> list[str]:
    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
