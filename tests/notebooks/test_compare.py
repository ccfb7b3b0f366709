"""Notebook 04 compared with another run, and without partly spoofed clips."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pandas as pd

from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.workbook.kernel import execute
from tests.conftest import ROOT


def test_a_detector_agrees_with_itself(headless_run: RunFolder, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(headless_run.folder, own)
    (own / "metrics" / "verdicts.parquet").unlink()
    values = {"PROFILE": "tiny", "SET": f"run_dir={own}", "CLIPS": 2, "PARTIAL": 0, "COMPARE": str(headless_run.folder)}
    execute(ROOT / "notebooks" / "04_attention.ipynb", tmp_path / "out.ipynb", values, "04", ROOT)
    cells = nbformat.read(tmp_path / "out.ipynb", 4).cells
    printed = "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", ()))
    assert f"compared: this run and {headless_run.folder.name}" in printed and "no partly spoofed clips: PARTIAL = 0" in printed
    agreed = pd.read_parquet(own / "metrics" / "agreement.parquet")
    assert (agreed["correlation"].round(6) == 1).all()
    assert not (own / "metrics" / "verdicts.parquet").exists()
