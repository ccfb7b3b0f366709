"""Schedule of distortion probability and intensity: constant until the loss switch, then rising (paper, idea 4)."""

from __future__ import annotations

from dataclasses import dataclass

from aasist_lib.config.augmentation import AugmentationConfig


@dataclass(frozen=True)
class Strength:
    """The factors on the distortions' probability and ranges (`intensity`), and the progress of the ramp (0 to 1)."""

    probability: float
    intensity: float
    progress: float = 0.0


def strength(config: AugmentationConfig, progress: float) -> Strength:
    """Interpolate linearly at `progress` between the two ends of the profile's `probability` and `intensity`."""
    (often, oftener), (weak, strong) = config.probability, config.intensity
    return Strength(often + progress * (oftener - often), weak + progress * (strong - weak), progress)


def progress(config: AugmentationConfig, epoch: int, switch_epoch: int | None) -> float:
    """Return the progress of the ramp in [0, 1]: k / ramp_epochs, capped at 1, where the switch epoch has k = 1.

    Args:
        config: the profile's `augmentation` section; with `ramp_epochs` = 0 or without `rise` progress stays 0.
        epoch: the current epoch, counted from 1.
        switch_epoch: the first epoch with focal loss, or None before the switch.
    """
    if not config.rise or not config.ramp_epochs or switch_epoch is None or epoch < switch_epoch:
        return 0.0
    return min((epoch - switch_epoch + 1) / config.ramp_epochs, 1.0)
