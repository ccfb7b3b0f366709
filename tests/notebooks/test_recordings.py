"""Notebook 07 on a user's own files: names with spaces, a folder, a missing file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from aasist_lib.__main__ import main
from aasist_lib.config import load_profile
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.scoring.detector import Detector
from aasist_lib.scoring.recordings import score_recording
from aasist_lib.training import train
from aasist_lib.workbook.kernel import NotebookError, execute

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "07_score_recordings.ipynb"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of the tiny profile with a trained detector."""
    assert main(["prepare", "tiny"]) == 0
    profile = load_profile("tiny", [f"run_dir={tmp_path_factory.mktemp('recordings') / 'run'}"])
    folder = RunFolder.open(profile)
    train(profile, folder)
    return folder


def run_chapter(run: RunFolder, folder: Path, **values: str | float) -> None:
    """Run notebook 07 headless in this run folder."""
    execute(NOTEBOOK, folder / "out.ipynb", {"PROFILE": "tiny", "SET": f"run_dir={run.folder}", **values}, "07", ROOT)


def test_files_and_folders_of_one_s_own_are_scored(run: RunFolder, tmp_path: Path, capsys) -> None:
    rng = np.random.default_rng(0)
    for name in ("my talk.flac", "more/a.wav", "more/b.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, 0.1 * rng.standard_normal(50_000), 16_000)
    paths = f"{tmp_path / 'my talk.flac'}; {tmp_path / 'more'};{tmp_path / 'broken.mp3'}"
    (tmp_path / "broken.mp3").write_bytes(b"no sound")
    run_chapter(run, tmp_path, PATHS=paths, PRIOR_SPOOF=0.01)
    table = pd.DataFrame(run.read_json("metrics/recordings.json")).set_index("recording")
    assert list(table.index) == ["my talk.flac", "a.wav", "b.wav"] and "truth" not in table.columns
    expected = score_recording(Detector.load(run.folder / "checkpoints" / "best"), tmp_path / "my talk.flac")
    assert table["score"]["my talk.flac"] == pytest.approx(expected.score, abs=1e-5)
    odds = 99 * np.exp(table["llr"])
    np.testing.assert_allclose(table["p_bonafide"], odds / (1 + odds))
    assert "left out: broken.mp3: cannot be read as audio" in capsys.readouterr().out
    timeline = pd.read_parquet(run.folder / "scores" / "recordings_timeline.parquet")
    assert set(timeline["utt_id"]) == {str(tmp_path / name) for name in ("my talk.flac", "more/a.wav", "more/b.wav")}
    assert not (run.folder / "recordings").exists(), "no examples if files are given"


def test_a_file_that_is_not_there_is_said_before_anything_is_scored(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(NotebookError, match=r"PATHS = '.*none\.mp3': "):
        run_chapter(run, tmp_path, PATHS=str(tmp_path / "none.mp3"))


def test_files_of_one_name_silence_and_cancelling_channels(run: RunFolder, tmp_path: Path) -> None:
    wave = 0.1 * np.random.default_rng(0).standard_normal(50_000)
    for folder, content in (("left", wave), ("right", 0 * wave)):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "a.wav", content, 16_000)
    soundfile.write(tmp_path / "turned.wav", np.stack([wave, -wave], axis=1), 16_000)
    run_chapter(run, tmp_path, PATHS=f"{tmp_path / 'left'};{tmp_path / 'right'};{tmp_path / 'turned.wav'}")
    table = pd.DataFrame(run.read_json("metrics/recordings.json")).set_index("recording")
    assert list(table.index) == ["left/a.wav", "right/a.wav", "turned.wav"]
    assert table.loc["right/a.wav", "decision"] == "undecided: no speech" and pd.isna(table.loc["right/a.wav", "p_bonafide"])
    assert table.loc["turned.wav", "decision"] == table.loc["left/a.wav", "decision"]
    assert "cancels: channel " in table.loc["turned.wav", "warnings"]


def test_a_prior_that_is_none_is_refused(run: RunFolder, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(20_000), 16_000)
    with pytest.raises(NotebookError, match="spoof = 0"):
        run_chapter(run, tmp_path, PATHS=str(tmp_path / "a.wav"), PRIOR_SPOOF=0.0)
    assert json.loads((tmp_path / "out.ipynb").read_text())["cells"], "the partly executed notebook is saved"
