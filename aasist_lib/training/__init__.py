"""Training: one function, from a profile to the best checkpoint."""

from aasist_lib.training.history import EpochRecord, TrainingResult
from aasist_lib.training.trainer import Trainer, TrainingError, train

__all__ = ["EpochRecord", "Trainer", "TrainingError", "TrainingResult", "train"]
