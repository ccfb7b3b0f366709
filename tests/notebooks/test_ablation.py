"""Notebook 06 on the tiny profile: a complete ablation, its figures, and a second run that trains nothing."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pandas as pd
import pytest

from aasist_lib.__main__ import main
from aasist_lib.config import paper_values
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.workbook.kernel import execute

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "06_ablation.ipynb"


def run_chapter(folder: Path) -> tuple[RunFolder, str]:
    """Run notebook 06 headless; return its run folder and printed text."""
    values = {"PROFILE": "tiny", "SET": f"evaluation.replicates=50 run_dir={folder / 'run'}"}
    execute(NOTEBOOK, folder / "out.ipynb", values, "06", ROOT)
    outputs = [output for cell in nbformat.read(folder / "out.ipynb", 4).cells for output in cell.get("outputs", ())]
    texts = [output.get("text") or output.get("data", {}).get("text/markdown", "") for output in outputs]
    return RunFolder(folder / "run"), "".join(texts)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunFolder, str]:
    """The folder of a run, its run folder, and the printed text."""
    folder = tmp_path_factory.mktemp("ablation")
    assert main(["prepare", "tiny"]) == 0  # normally done by notebook 01, which is not run here
    return folder, *run_chapter(folder)


def test_the_table_has_every_row_and_the_paper_s_values_apart(done: tuple[Path, RunFolder, str]) -> None:
    _, run, printed = done
    table = pd.DataFrame(run.read_json("metrics/ablation.json"))
    assert list(table["row"]) == ["frozen", "paper", "probe"] and list(table["seeds"]) == [2, 2, 1]
    quoted = [paper_values()[key].value / 100 for key in ("eer_frozen", "eer_all")]
    assert list(table["paper: EER on ASVspoof 5, quoted"])[:2] == quoted
    assert len(pd.read_parquet(run.folder / "metrics" / "ablation.parquet")) == 5
    (step,) = run.read_json("metrics/steps.json")
    assert (step["row"], step["against"]) == ("paper", "frozen")
    assert "paper against frozen: " in printed and "of 1 differences exceed the noise of 2 seeds" in printed


def test_it_keeps_its_promises(done: tuple[Path, RunFolder, str]) -> None:
    _, run, printed = done
    promised = nbformat.read(NOTEBOOK, 4).metadata["aasist"]["artefacts"]
    assert [name for name in promised if not (run.folder / name).is_file()] == []
    figures = {key for key in run.manifest["exhibits"] if key.startswith("figure/")}
    assert figures == {"figure/ablation", "figure/model_first", "figure/model_last"}
    assert "5 trainings, 0 finished before, 2 at a time" in printed and "USDT" not in printed


def test_a_second_run_trains_nothing_and_says_so(done: tuple[Path, RunFolder, str]) -> None:
    folder, run, _ = done
    before = run.read_json("metrics/ablation.json")
    again, printed = run_chapter(folder)
    assert "5 trainings, 5 finished before" in printed
    assert again.read_json("metrics/ablation.json") == before
