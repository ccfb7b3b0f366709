"""Typicality: how far a clip is from all that a detector was trained on.

A detector returns a score for anything, also for music, noise or a language it never heard. The distance here is the
Mahalanobis distance (Mahalanobis 1936) of the clip's mean encoder state to the train clips, with the covariance of
probabilistic PCA (Tipping and Bishop 1999), which is defined even with fewer clips than features.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor, nn

FLAGGED = 0.05
"""Fraction of dev's bona fide clips beyond the limit."""
DIRECTIONS = 64
"""Largest number of principal directions."""


def summary(states: Tensor) -> Tensor:
    """The mean over layers and frames of a front end's states: `(batch, layers, frames, features)` -> `(batch, features)`."""
    return states.float().mean(dim=(1, 2))


class Typicality(nn.Module):
    """The distance of a clip to the train clips, in units of a limit set on dev; create it with `fit` or from a checkpoint.

    Buffers: `mean (features,)`; `directions (rank, features)`, orthonormal; `deviations (rank,)` along them; `rest ()`, the
    deviation in every other direction; `limit ()`, the Mahalanobis distance that `FLAGGED` of dev's bona fide clips exceed.
    """

    mean: Tensor
    directions: Tensor
    deviations: Tensor
    rest: Tensor
    limit: Tensor

    def __init__(self, features: int, rank: int) -> None:
        super().__init__()
        for name, shape in (("mean", [features]), ("directions", [rank, features]), ("deviations", [rank])):
            self.register_buffer(name, torch.zeros(shape))
        for name in ("rest", "limit"):
            self.register_buffer(name, torch.ones(()))

    @classmethod
    def fit(cls, train: NDArray[np.float32], bonafide: NDArray[np.float32]) -> Typicality:
        """Fit to summaries `(clips, features)` of two or more train clips, and set the limit by those of dev's bona fide."""
        clips, features = train.shape
        rank = max(1, min(DIRECTIONS, features - 1, (clips - 1) // 2))
        pca = PCA(rank, svd_solver="full").fit(train.astype(np.float64))
        fitted = cls(features, rank)
        # Clips that are all alike in a direction would make every distance infinite: a floor far below any real deviation.
        floor = 1e-6 * float(np.abs(train).max()) + 1e-12
        for name, value in (
            ("mean", pca.mean_),
            ("directions", pca.components_),
            ("deviations", np.sqrt(pca.explained_variance_).clip(floor)),
            ("rest", max(np.sqrt(pca.noise_variance_), floor)),
        ):
            getattr(fitted, name).copy_(torch.as_tensor(value))
        fitted.limit.copy_(torch.quantile(fitted(torch.from_numpy(bonafide)), 1 - FLAGGED))
        return fitted

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> Typicality:
        """The output of `state_dict`, loaded."""
        rank, features = state["directions"].shape
        fitted = cls(features, rank)
        fitted.load_state_dict(state)
        return fitted

    def forward(self, summaries: Tensor) -> Tensor:
        """Distances `(batch,)` of summaries `(batch, features)`; above 1 is unlike anything trained on."""
        offsets = summaries.float() - self.mean
        along = offsets @ self.directions.T
        across = (offsets - along @ self.directions).square().sum(dim=1)
        return ((along / self.deviations).square().sum(dim=1) + across / self.rest.square()).sqrt() / self.limit
