"""Exponential moving average of the trained weights, used for dev and for the checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from aasist_lib.models import AASIST
from aasist_lib.models.checkpoints import put_weights, trained_weights


class WeightAverage:
    """Exponential moving average of a model's trained weights: `average = decay * average + (1 - decay) * weights` per step,
    starting with the weights after the first step. Frozen weights are neither copied nor averaged.

    Args:
        model: the detector that is being trained.
        decay: per step, in [0, 1).
    """

    def __init__(self, model: AASIST, decay: float) -> None:
        self.model = model
        self.weights: dict[str, torch.Tensor] = {}
        self._average = get_ema_multi_avg_fn(decay)

    def update(self) -> None:
        """Update the average with the current weights."""
        now = trained_weights(self.model)
        if not self.weights:
            self.weights = {name: tensor.clone() for name, tensor in now.items()}
            return
        by_type: dict[torch.dtype, list[str]] = {}
        for name, tensor in now.items():
            by_type.setdefault(tensor.dtype, []).append(name)
        for names in by_type.values():
            self._average([self.weights[name] for name in names], [now[name] for name in names], 0)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the `with` the model has the average's weights; afterwards its own again."""
        own = {name: tensor.clone() for name, tensor in trained_weights(self.model).items()}
        put_weights(self.model, self.weights)
        try:
            yield
        finally:
            put_weights(self.model, own)
