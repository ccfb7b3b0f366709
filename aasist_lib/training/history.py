"""What a training records per epoch, and which epoch is the best."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd


@dataclass(frozen=True)
class EpochRecord:
    """One row of `metrics/history.parquet`. The EER is a fraction, `seconds` is wall-clock time; `focal_weight` and the
    augmentation's probability and intensity are the schedules' values in that epoch."""

    epoch: int
    train_loss: float
    dev_loss: float
    dev_eer: float
    dev_threshold: float
    learning_rate: float
    focal_weight: float
    augmentation_probability: float
    augmentation_intensity: float
    seconds: float

    @property
    def rank(self) -> tuple[float, float]:
        """Lower is better: the dev EER first, the dev loss where EERs are equal."""
        return self.dev_eer, self.dev_loss


class History(list[EpochRecord]):
    """The records of the epochs so far, in order."""

    @property
    def best(self) -> EpochRecord:
        """The first of the epochs with the lowest rank."""
        return min(self, key=lambda record: record.rank)

    def has_stalled(self, patience: int) -> bool:
        """Whether the last `patience` epochs brought no better one."""
        return bool(self) and len(self) - self.best.epoch >= patience

    def table(self) -> pd.DataFrame:
        """One row per epoch, with the columns of `EpochRecord`."""
        return pd.DataFrame([asdict(record) for record in self])


@dataclass(frozen=True)
class TrainingResult:
    """`history` has the columns of `EpochRecord`. Epochs count from 1; `switch_epoch` is the first with focal loss."""

    history: pd.DataFrame
    best_epoch: int
    switch_epoch: int | None
    checkpoint: Path
