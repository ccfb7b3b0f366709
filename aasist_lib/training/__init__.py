"""Training: one function, from a profile to the best checkpoint."""

from aasist_lib.training.trainer import EpochRecord, Trainer, TrainingError, TrainingResult, train

__all__ = ["EpochRecord", "Trainer", "TrainingError", "TrainingResult", "train"]
