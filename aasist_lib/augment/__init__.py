"""Training-time distortions: audiomentations transforms, drawn from (seed, view, utt_id) alone."""

from aasist_lib.augment.pipeline import AugmentationError, Augmenter, clip_generator

__all__ = ["AugmentationError", "Augmenter", "clip_generator"]
