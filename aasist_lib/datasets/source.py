"""The input of training, scoring and the baseline: a feature bank, or the audio itself."""

from __future__ import annotations

import pandas as pd
import torch

from aasist_lib.config import Profile
from aasist_lib.datasets.clips import Clips, clips_for
from aasist_lib.datasets.feature_bank import FeatureBank, build_bank
from aasist_lib.models.base import Frontend
from aasist_lib.runtime.kept import clips_digest

Source = FeatureBank | Clips


def open_source(
    profile: Profile, frontend: Frontend, trials: pd.DataFrame, train: bool, seed: int, device: str | torch.device = "cpu"
) -> Source:
    """The input for these trials: encoder states from the feature bank with `training.feature_cache`, else waveforms.

    Args:
        train: distort the clips as the profile says.
        seed: of crops and distortions on the fly; a feature bank has `data.seed`.

    Raises:
        FeatureError, AudioError: see `build_bank`.
    """
    if profile.training.feature_cache:
        return build_bank(profile, frontend, trials, train=train, device=device)
    return clips_for(profile, trials, train, seed)


def content(source: Source, trials: pd.DataFrame) -> tuple[str, str]:
    """What a cache key says about a source: ('features', the bank's key) or ('clips', a digest of the files)."""
    return ("features", source.folder.name) if isinstance(source, FeatureBank) else ("clips", clips_digest(trials))
