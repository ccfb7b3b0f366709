"""Shared fixtures: a tiny random wav2vec 2.0, a small corpus that a detector can really learn, and a whole headless run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import settings

from aasist_lib.config import Profile
from aasist_lib.runtime.run_folder import RunFolder

settings.register_profile("untimed", deadline=None)  # a slow machine is no failure
settings.load_profile("untimed")

ROOT = Path(__file__).parents[1]
SAMPLES = 8_000


def headless_command(folder: Path) -> list[str]:
    """The command line that runs all notebooks of the tiny profile into a run folder."""
    return [sys.executable, "-m", "aasist_lib", "run", "tiny", "--set", f"run_dir={folder}"]


SLOW = (
    "tests/audio/test_bad_audio.py", "tests/audio/test_whole.py", "tests/augment/test_processes.py", "tests/browser",
    "tests/config/test_fuzz_profiles.py", "tests/corpora/test_fuzz_keys.py", "tests/datasets/test_check.py",
    "tests/datasets/test_feature_bank.py", "tests/demo_corpus/test_build.py", "tests/evaluation/test_command.py",
    "tests/experiments", "tests/explore/test_clips.py", "tests/metrics/test_intervals.py", "tests/metrics/test_seeds.py",
    "tests/models/test_cost.py", "tests/models/test_precision.py", "tests/notebooks/test_ablation.py",
    "tests/notebooks/test_compare.py", "tests/notebooks/test_headless.py", "tests/notebooks/test_own_folder.py",
    "tests/notebooks/test_recordings.py", "tests/notebooks/test_score_files.py", "tests/runtime/test_faults.py",
    "tests/runtime/test_processes.py", "tests/scoring/test_progress.py", "tests/test_edits.py", "tests/test_encoder_gpu.py",
    "tests/test_epoch_time.py", "tests/test_kill.py", "tests/test_launch.py", "tests/test_main.py",
    "tests/test_own_data.py", "tests/test_rehearsal.py", "tests/test_team.py", "tests/training",
    "tests/workbook/test_runner.py",
)  # fmt: skip
"""Files and folders of tests that take more than some seconds: `make quick` leaves them out."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests and group them for parallel runs: one process takes all that need `headless_run`, each other file is a
    group, and slow groups start first."""
    shared = {item for item in items if "headless_run" in item.fixturenames or item.path.parent.name == "browser"}
    slow = {item for item in items if item in shared or item.nodeid.startswith(SLOW)}
    items.sort(key=lambda item: (item not in shared, item not in slow))
    for item in items:
        group = "headless_run" if item in shared else item.path.relative_to(ROOT).as_posix()
        item.add_marker(pytest.mark.xdist_group(group))
        if item in slow:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def headless_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run folder that one headless run of the tiny profile leaves. Tests only read it."""
    folder = tmp_path_factory.mktemp("headless") / "run"
    done = subprocess.run(headless_command(folder), cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return RunFolder(folder)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `make_encoder`."""
    return make_encoder(tmp_path_factory.mktemp("encoder"))


def make_encoder(folder: Path) -> Path:
    """A randomly initialised wav2vec 2.0 (3 layers, 32 features, 20 ms frames) with its preprocessor, saved into the folder."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64, conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, num_feat_extract_layers=7,
        do_stable_layer_norm=True, feat_extract_norm="layer",
    )  # fmt: skip
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `make_corpus`."""
    return make_corpus(tmp_path_factory.mktemp("corpus"))


def make_corpus(folder: Path, clips: int = 12) -> Path:
    """Half-second clips, so many in each of three splits; bona fide is noise, spoof a chord, so that the classes differ."""
    rng = np.random.default_rng(0)
    time = np.arange(SAMPLES) / 16_000
    rows = []
    for split in ("train", "dev", "eval"):
        for number in range(clips):
            label = "bonafide" if number % 2 else "spoof"
            tone = np.sin(2 * np.pi * rng.uniform(200, 400) * time)
            wave = 0.1 * (rng.standard_normal(SAMPLES) if label == "bonafide" else tone)
            path = folder / f"{split}{number}.flac"
            soundfile.write(path, np.clip(wave, -1, 1), 16_000)
            attack = "-" if label == "bonafide" else "tone"
            rows.append((path.stem, str(path), label, f"{split}-speaker", attack, "-", split, "toy"))
    columns = ["utt_id", "path", "label", "speaker", "attack", "codec", "split", "corpus"]
    pd.DataFrame(rows, columns=columns).to_parquet(folder / "trials.parquet", index=False)
    return folder


@pytest.fixture
def tiny_profile(tiny_encoder: Path, tiny_corpus: Path, tmp_path: Path) -> Profile:
    """A profile that trains on `tiny_corpus` in about a second an epoch."""
    return profile_for(tiny_encoder, tiny_corpus, tmp_path)


def profile_for(encoder: Path, corpus: Path, folder: Path) -> Profile:
    """The toy profile on an encoder and a corpus; its run lies in `folder`/run."""
    return Profile.model_validate(
        {
            "name": "toy", "title": "Toy", "run_dir": folder / "run",
            "data": {"root": corpus, "cache": corpus / "cache"},
            "model": {
                "frontend": {"name": str(encoder), "layer": "weighted"}, "samples": SAMPLES, "projection": 24,
                "channels": (4, 8), "blocks": 3, "graph_dims": (8, 8), "heads": 2,
            },
            "loss": {"class_weights": (0.5, 0.5), "switch_eer": 0.5, "blend_epochs": 2},
            "augmentation": {"views": 2, "distortions": [{"kind": "noise", "snr_db": [50, 30]}, {"kind": "gain"}]},
            "training": {"epochs": 6, "batch_size": 4, "learning_rate": 1e-2, "warmup_epochs": 0.5},
        }
    )  # fmt: skip
