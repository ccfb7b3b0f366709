"""How often and how strongly clips are distorted in an epoch: constant until the loss switch, then rising (paper, idea 4)."""

from __future__ import annotations

from dataclasses import dataclass

from aasist_lib.config.augmentation import AugmentationConfig


@dataclass(frozen=True)
class Strength:
    """`probability` with which each distortion fires, `intensity` of its ranges, and how far the rise has come (0 to 1)."""

    probability: float
    intensity: float
    progress: float = 0.0


def strength(config: AugmentationConfig, progress: float) -> Strength:
    """The strength at `progress` between the two ends of the profile's `probability` and `intensity`, linear in between."""
    (often, oftener), (weak, strong) = config.probability, config.intensity
    return Strength(often + progress * (oftener - often), weak + progress * (strong - weak), progress)


def progress(config: AugmentationConfig, epoch: int, switch_epoch: int | None) -> float:
    """How far the rise has come in `epoch` (from 1), in [0, 1]: k / ramp_epochs in the k-th epoch from the switch on.

    Args:
        config: the profile's section; `ramp_epochs` = 0 stays at 0.
        epoch: counted from 1.
        switch_epoch: the first epoch with focal loss, or None before the switch.
    """
    if not config.ramp_epochs or switch_epoch is None or epoch < switch_epoch:
        return 0.0
    return min((epoch - switch_epoch + 1) / config.ramp_epochs, 1.0)
