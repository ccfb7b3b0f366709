"""Detects NaN and infinite losses and gradients, checked every few steps so that a GPU does not wait."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor

from aasist_lib.errors import AasistError
from aasist_lib.runtime.processes import agreed

EVERY = 100
"""Steps between two checks."""
_SHOWN = 64


class TrainingError(AasistError, ValueError):
    """Training cannot start or continue; the message says why and how to fix it."""


class NanGuard:
    """Records the losses of an epoch and the utterances behind them.

    Args:
        accelerator: that of the training; after a step all processes have the same gradients.
        epoch: named in messages.
        ids: utterance ids by row.
    """

    def __init__(self, accelerator: Accelerator, epoch: int, ids: list[str]) -> None:
        self.accelerator, self.epoch, self.ids = accelerator, epoch, ids
        self.losses: list[Tensor] = []
        self._recent: list[tuple[Tensor, Tensor, Tensor]] = []
        # With fp16 some steps have infinite gradients by design; the scaler skips these steps.
        self._norms_count = accelerator.mixed_precision != "fp16"

    def note(self, loss: Tensor, norm: Tensor, rows: Tensor) -> None:
        """Record a step: its loss, the norm of its gradients, and the rows `(batch,)` of its clips.

        Raises:
            TrainingError: a recent step has a NaN or infinite loss or gradient; the message names its utterances.
        """
        self.losses.append(loss)
        self._recent.append((loss, norm if self._norms_count else torch.zeros_like(loss), rows))
        if len(self._recent) == EVERY:
            self._look()

    def mean_loss(self) -> float:
        """The mean loss over all steps and processes.

        Raises:
            TrainingError: see `note`.
        """
        self._look()
        return float(self.accelerator.gather(torch.stack(self.losses).mean().reshape(1)).mean())

    def _look(self) -> None:
        recent, self._recent = self._recent, []
        if not recent:
            return
        losses, norms = (torch.stack([step[k].detach().float() for step in recent]) for k in (0, 1))
        sound = self.accelerator.gather((losses.isfinite() & norms.isfinite()).all().reshape(1))
        if sound.all():
            return
        bad = int((~(losses.isfinite() & norms.isfinite())).float().argmax())  # the first; later ones follow from it
        step, (loss, norm, rows) = len(self.losses) - len(recent) + bad + 1, recent[bad]
        mine = self.accelerator.gather((~loss.isfinite()).reshape(1))
        with agreed():
            if not loss.isfinite() or not mine.any():
                raise TrainingError(self._message(step, float(loss), float(norm), rows.tolist()))

    def _message(self, step: int, loss: float, norm: float, rows: list[int]) -> str:
        names = [self.ids[row] for row in rows]
        more = f", … {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return (
            f"epoch {self.epoch}, step {step}: the loss is {loss}, the norm of its gradients {norm}, on the utterances "
            f"{', '.join(names[:_SHOWN])}{more}. Look at these clips, or lower training.learning_rate. "
            f"The checkpoints are as they were after epoch {self.epoch - 1}."
        )
