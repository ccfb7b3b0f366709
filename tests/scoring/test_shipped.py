"""The detector that comes with the project: complete, its card true to its facts, and silent about what is no speech."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml

from aasist_lib import audio
from aasist_lib.config import load_profile, project_root
from aasist_lib.evaluation.model_card import model_card
from aasist_lib.metrics import eer, split_classes
from aasist_lib.models.checkpoints import FILE, CheckpointError, read_facts
from aasist_lib.scoring import ScoringError
from aasist_lib.scoring.detector import SHIPPED, Detector, find_detector, find_scores
from aasist_lib.scoring.recordings import score_recording
from tools.ship_detector import ENCODER, MOST_BYTES, SOURCES

ROOT = project_root()
FOLDER = ROOT / SHIPPED
RATE = audio.RATE


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return {split: pd.read_parquet(FOLDER / "scores" / f"aasist_{split}.parquet") for split in ("dev", "eval")}


def test_it_is_small_and_complete():
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= MOST_BYTES
    names = {str(file.relative_to(FOLDER)) for file in files}
    assert names == {
        FILE,
        "README.md",
        *(f"scores/{s}_{split}.parquet" for s in ("aasist", "probe") for split in ("dev", "eval")),
    }
    facts = read_facts(FOLDER)
    assert facts["calibration"]["left_out"] and facts["typicality"]["clips"] and facts["trained_on"]["corpus"] == "demo"


def test_its_card_is_made_from_its_facts_and_scores(tables):
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert card == model_card(read_facts(FOLDER), tables, "mit", SOURCES, encoder=ENCODER)
    head = yaml.safe_load(card.split("---\n")[1])
    values = {
        (one["dataset"]["split"], one["dataset"]["config"]): one["metrics"][0]["value"]
        for one in head["model-index"][0]["results"]
    }
    known = set(read_facts(FOLDER)["trained_on"]["attacks"])
    test = tables["eval"]
    unseen = test[(test["label"] == "bonafide") | ~test["attack"].isin(known)]
    assert values["eval", "unseen"] == round(100 * eer(*split_classes(unseen["label"], unseen["score"]))[0], 2)
    assert f"| eval | unseen | {values['eval', 'unseen']:.1f}%" in card
    assert "do not base a decision about a person" in card and "scored by a detector trained without it" in card


def test_it_is_found_where_a_run_has_no_detector_of_the_same_encoder(tmp_path, capsys):
    assert find_detector(tmp_path) == FOLDER and f"no detector in {tmp_path}" in capsys.readouterr().err
    encoder = read_facts(FOLDER)["encoder"]["name"]
    assert find_detector(tmp_path, encoder) == FOLDER
    assert find_detector(tmp_path, "facebook/wav2vec2-xls-r-300m") == tmp_path / "checkpoints" / "best"
    with pytest.raises(CheckpointError, match="train first"):
        Detector.load(find_detector(tmp_path, "other"))
    own = tmp_path / "checkpoints" / "best"
    own.mkdir(parents=True)
    (own / FILE).write_bytes((FOLDER / FILE).read_bytes())
    capsys.readouterr()
    assert find_detector(tmp_path, encoder) == own and not capsys.readouterr().err
    with pytest.raises(ScoringError, match=r"no scores.*\b03\b"):
        find_scores(tmp_path, load_profile("demo"))
    with pytest.raises(ScoringError, match="no scores"):
        find_scores(tmp_path / "nothing", load_profile("tiny"))
    scores, known = find_scores(tmp_path / "nothing", load_profile("demo"))
    assert scores == FOLDER / "scores" and known == set(read_facts(FOLDER)["trained_on"]["attacks"])


def melody(voice: bool) -> np.ndarray:
    """Eight notes; with `voice` a buzz through the formants of 'ah' with vibrato, as a singer's, else plain tones."""
    parts, time = [], np.arange(RATE // 2) / RATE
    for pitch in (220, 247, 262, 294, 330, 294, 262, 220):
        wobble = 1 + 0.01 * np.sin(2 * np.pi * 5.5 * time) if voice else np.ones_like(time)
        phase = 2 * np.pi * np.cumsum(pitch * wobble) / RATE
        if voice:
            harmonics = np.arange(1, int(7000 / pitch))
            gains = sum(1 / (1 + ((harmonics * pitch - formant) / 90) ** 2) for formant in (700, 1150, 2900))
            parts.append((gains[:, None] * np.sin(harmonics[:, None] * phase)).sum(axis=0))
        else:
            parts.append(np.sin(phase))
    wave = np.concatenate(parts)
    return 0.3 * wave / np.abs(wave).max()


def sounds() -> dict[str, np.ndarray]:
    rng, time = np.random.default_rng(0), np.arange(4 * RATE) / RATE
    white = rng.standard_normal(len(time))
    brown = np.cumsum(white - white.mean())
    return {
        "white noise": 0.1 * white, "brown noise": 0.3 * brown / np.abs(brown).max(),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * time),
        "hum": 0.3 * np.sign(np.sin(2 * np.pi * 50 * time)), "melody": melody(voice=False),
        "chord": sum(0.1 * np.sin(2 * np.pi * pitch * time) for pitch in (220, 277, 330, 440)),
        "clicks": 0.5 * (np.arange(len(time)) % (RATE // 8) < 20),
    }  # fmt: skip


@pytest.fixture(scope="module")
def detector() -> Detector:
    if not (ROOT / read_facts(FOLDER)["encoder"]["name"]).is_dir():
        pytest.skip("the demo's encoder is not installed: make setup")
    return Detector.load(FOLDER)


@pytest.mark.parametrize("name", sounds())
def test_music_noise_and_tones_are_undecided(detector, tmp_path, name):
    audio.write_flac(tmp_path / "a.flac", sounds()[name].astype(np.float32))
    found = score_recording(detector, tmp_path / "a.flac")
    reason = "no speech" if name == "clicks" else "unlike anything trained on"
    assert found.decision.startswith(f"undecided: {reason}"), (name, found.distance)


def test_silence_has_no_speech(detector, tmp_path):
    audio.write_flac(tmp_path / "a.flac", np.zeros(4 * RATE, np.float32))
    assert score_recording(detector, tmp_path / "a.flac").decision == "undecided: no speech"
