"""Scores: trials of a corpus, or files of any kind, through a trained detector. A score is log-odds, higher = bona fide."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from aasist_lib import audio
from aasist_lib.checkpoints import load_model
from aasist_lib.config import Profile
from aasist_lib.corpora import load_trials
from aasist_lib.features import FeatureBank, Waves, build_bank, iterate_batches
from aasist_lib.models import AASIST
from aasist_lib.runs import atomic


class ScoringError(ValueError):
    """Nothing could be scored; the message says why."""


def score_split(profile: Profile, model: AASIST, split: str, device: str = "cpu") -> pd.DataFrame:
    """Score table of one split: `score` beside the trial columns. Features come from the bank where the profile has one.

    Args:
        profile: corpus, crop and batch size.
        model: a trained detector, in eval mode.
        split: 'train', 'dev' or 'eval'.
    """
    trials = load_trials(profile.data)
    trials = trials[trials["split"] == split].reset_index(drop=True)
    model = model.eval().to(device)
    if profile.training.feature_cache:
        scores = bank_scores(model, build_bank(profile, model.frontend, trials, train=False, device=device), device)
    else:
        scores = _wave_scores(model, Waves(trials, profile.model.samples, profile.seed), profile, device)
    return score_table(trials, scores)


def score_table(trials: pd.DataFrame, scores: np.ndarray) -> pd.DataFrame:
    """`utt_id, score` and then the trial columns; `scores (trials,)` in the order of the rows."""
    return pd.concat([trials[["utt_id"]], pd.Series(scores, name="score"), trials.drop(columns="utt_id")], axis=1)


@torch.inference_mode()
def bank_scores(model: AASIST, bank: FeatureBank, device: str = "cpu", batch_size: int = 32) -> np.ndarray:
    """Scores of view 0 of a bank's clips, `(clips,)` float64."""
    parts = [log_odds(model.backend(states.to(device))) for states in iterate_batches(bank, batch_size)]
    return np.concatenate(parts)


@torch.inference_mode()
def _wave_scores(model: AASIST, waves: Waves, profile: Profile, device: str) -> np.ndarray:
    rows = torch.utils.data.DataLoader(
        [(row, 0) for row in range(len(waves))], batch_size=profile.training.batch_size, collate_fn=list
    )
    parts = []
    for batch in tqdm(rows, desc="scoring", unit="batch", mininterval=5):
        waveform = torch.from_numpy(np.stack([waves[item] for item in batch]))
        parts.append(log_odds(model(waveform.to(device))))
    return np.concatenate(parts)


@torch.inference_mode()
def score_wave(model: AASIST, wave: np.ndarray) -> float:
    """Score of one waveform `(samples,)` at 16 kHz: the mean over windows of the model's length.

    Windows follow one another without overlap, the last one ends with the wave; a short wave is repeated.
    """
    samples = model.config.samples
    starts = list(range(0, max(len(wave) - samples, 0) + 1, samples))
    if len(wave) > samples and starts[-1] + samples < len(wave):
        starts.append(len(wave) - samples)
    windows = torch.from_numpy(np.stack([audio.fit(wave, samples, start) for start in starts]))
    device = next(model.backend.parameters()).device
    return float(np.mean([log_odds(model(window[None].to(device)))[0] for window in windows]))


def score_paths(checkpoint: Path, paths: Iterable[Path], out: Path) -> tuple[pd.DataFrame, list[str]]:
    """Score audio files, and all audio below folders, and write `utt_id` (the path) and `score` as CSV.

    A file that cannot be read does not stop the rest: it is left out of the table and listed.

    Returns:
        the table written, and a line for each file left out: its name and the reason.

    Raises:
        ScoringError: no audio file among `paths`, or none that can be read.
        CheckpointError: the checkpoint cannot be loaded.
    """
    files = [file for path in paths for file in _audio_files(Path(path))]
    if not files:
        raise ScoringError(f"no audio file found; looked for {', '.join(audio.EXTENSIONS)}")
    model, _ = load_model(checkpoint)
    rows, bad = [], []
    for file in tqdm(files, desc="scoring", unit="file", mininterval=5):
        try:
            rows.append((str(file), score_wave(model, audio.read(file))))
        except audio.AudioError as error:
            bad.append(str(error))
    if not rows:
        raise ScoringError("no file could be read:\n  " + "\n  ".join(bad))
    table = pd.DataFrame(rows, columns=["utt_id", "score"])
    with atomic(out) as partial:
        table.to_csv(partial, index=False)
    return table, bad


def _audio_files(path: Path) -> list[Path]:
    if path.is_dir():
        return audio.files_below(path)
    return [path]


def log_odds(logits: torch.Tensor) -> np.ndarray:
    """Scores `(batch,)` float64 from logits `(batch, 2)`."""
    return (logits[:, 1] - logits[:, 0]).double().cpu().numpy()
