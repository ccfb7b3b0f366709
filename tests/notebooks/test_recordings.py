"""Notebook 07 on files of one's own: names with spaces, a folder, a file that is not there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from aasist_lib.__main__ import main
from aasist_lib.config import load_profile
from aasist_lib.detector import Detector
from aasist_lib.headless import NotebookError, execute
from aasist_lib.recordings import score_recording
from aasist_lib.runs import RunFolder
from aasist_lib.training import train

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "07_score_recordings.ipynb"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of the tiny profile with its detector trained."""
    assert main(["prepare", "tiny"]) == 0
    profile = load_profile("tiny", [f"run_dir={tmp_path_factory.mktemp('recordings') / 'run'}"])
    folder = RunFolder.open(profile)
    train(profile, folder)
    return folder


def run_chapter(run: RunFolder, folder: Path, **values: str | float) -> None:
    """Run notebook 07 headless in that run folder."""
    execute(NOTEBOOK, folder / "out.ipynb", {"PROFILE": "tiny", "SET": f"run_dir={run.folder}", **values}, "07", ROOT)


def test_files_and_folders_of_one_s_own_are_scored(run: RunFolder, tmp_path: Path, capsys) -> None:
    rng = np.random.default_rng(0)
    for name in ("my talk.flac", "more/a.wav", "more/b.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, 0.1 * rng.standard_normal(50_000), 16_000)
    paths = f"{tmp_path / 'my talk.flac'}; {tmp_path / 'more'};{tmp_path / 'none.mp3'}"
    run_chapter(run, tmp_path, PATHS=paths, PRIOR_SPOOF=0.01)
    table = pd.DataFrame(run.read_json("metrics/recordings.json")).set_index("recording")
    assert list(table.index) == ["my talk.flac", "a.wav", "b.wav"] and "truth" not in table.columns
    expected = score_recording(Detector.load(run.folder / "checkpoints" / "best"), tmp_path / "my talk.flac")
    assert table["score"]["my talk.flac"] == pytest.approx(expected.score, abs=1e-5)
    odds = 99 * np.exp(table["llr"])
    np.testing.assert_allclose(table["p_bonafide"], odds / (1 + odds))
    assert "left out: none.mp3: cannot be read as audio: no such file" in capsys.readouterr().out
    timeline = pd.read_parquet(run.folder / "scores" / "recordings_timeline.parquet")
    assert set(timeline["utt_id"]) == {str(tmp_path / name) for name in ("my talk.flac", "more/a.wav", "more/b.wav")}
    assert not (run.folder / "recordings").exists(), "no examples where there are files"


def test_a_prior_that_is_none_is_refused(run: RunFolder, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(20_000), 16_000)
    with pytest.raises(NotebookError, match="prior of spoof = 0"):
        run_chapter(run, tmp_path, PATHS=str(tmp_path / "a.wav"), PRIOR_SPOOF=0.0)
    assert json.loads((tmp_path / "out.ipynb").read_text())["cells"], "the notebook is kept as far as it came"
