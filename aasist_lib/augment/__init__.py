"""Training-time distortions: audiomentations transforms whose random draws depend only on (seed, view, utt_id)."""

from aasist_lib.augment.base import AugmentationError, Distortion, clip_generator, seeded
from aasist_lib.augment.pipeline import Applied, Augmenter
from aasist_lib.augment.registry import build
from aasist_lib.augment.schedule import Strength, progress, strength

__all__ = [
    "Applied",
    "AugmentationError",
    "Augmenter",
    "Distortion",
    "Strength",
    "build",
    "clip_generator",
    "progress",
    "seeded",
    "strength",
]
