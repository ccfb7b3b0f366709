"""The losses, and the move from cross-entropy to focal loss (paper, idea 4). docs/losses.md says which to use when.

Labels: bona fide = 1, spoof = 0; logits are `[spoof, bona fide]`, as said in `aasist_lib.metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from aasist_lib.config import LossConfig

OC_SCALE = 20.0
"""What OC-softmax multiplies cosines with (alpha in Zhang et al. 2021)."""

OC_MARGINS = (0.2, 0.9)
"""[spoof, bona fide]: OC-softmax wants the cosines of spoof below the first and those of bona fide above the second."""


def weighted_cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor) -> Tensor:
    """Class-weighted cross-entropy, a scalar in nats: the weighted mean over the batch.

    Args:
        logits: `(batch, 2)`.
        labels: `(batch,)` of 0 or 1.
        class_weights: `(2,)`, [spoof, bona fide].
    """
    return functional.cross_entropy(logits, labels, weight=class_weights)


def focal_loss(logits: Tensor, labels: Tensor, class_weights: Tensor, gamma: float, alpha: float | None = None) -> Tensor:
    """Focal loss (Lin et al. 2017, eq. 5): each trial's cross-entropy times `(1 - p_true) ** gamma`, then the weighted mean.

    With `gamma` = 0 it is `weighted_cross_entropy`. Shapes as there. `alpha`, above 0 and below 1, is the weight of bona fide
    and 1 - `alpha` that of spoof, in the place of `class_weights`.

    Raises:
        ValueError: `alpha` leaves a class without weight.
    """
    log_p = _log_p_true(logits, labels)
    weights = _focal_weights(labels, class_weights, alpha)
    # -expm1(log p) is 1 - p without cancellation when p is close to 1. At 0 a gamma below 1 would have no gradient.
    missing = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
    return -(weights * missing**gamma * log_p).sum() / weights.sum()


def focal_scale(logits: Tensor, labels: Tensor, class_weights: Tensor, gamma: float, alpha: float | None = None) -> Tensor:
    """The factor at which focal loss pulls at a batch's logits as strongly as cross-entropy, a scalar without gradient.

    With p the probability of a trial's true class, the derivative of its cross-entropy by the logits is 1 - p in size, that of
    its focal loss `(1 - p)^gamma (1 - p - gamma p log p)`; the factor is the ratio of their weighted means, cross-entropy's by
    `class_weights` and focal loss's by its own weights. Focal loss then moves weight from easy trials to hard ones and does
    not turn down the learning rate besides. Shapes and errors as in `focal_loss`.
    """
    log_p = _log_p_true(logits.detach(), labels)
    p, missing = log_p.exp(), -torch.expm1(log_p)
    pull = missing**gamma * (missing - gamma * p * log_p)
    of_focal = _weighted_mean(pull, _focal_weights(labels, class_weights, alpha))
    return _weighted_mean(missing, class_weights[labels]) / of_focal.clamp_min(torch.finfo(log_p.dtype).tiny)


def oc_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """OC-softmax (Zhang, Jiang, Duan 2021), a scalar in nats: the plain mean over the batch, as there.

    Only for logits of `models.readout.CosineReadout`, whose score s = logit[1] - logit[0] is OC_SCALE (cosine - middle of
    OC_MARGINS). With it the paper's `log(1 + exp(OC_SCALE (m_y - cosine) (-1)^y))`, whose y is 0 for bona fide, is a logistic
    loss of s: bona fide is to lie above `margin`, spoof below -`margin`. Shapes as in `weighted_cross_entropy`.
    """
    margin = OC_SCALE * (OC_MARGINS[1] - OC_MARGINS[0]) / 2
    towards_truth = (logits[:, 1] - logits[:, 0]) * (2 * labels - 1)
    return -functional.logsigmoid(towards_truth - margin).mean()


def _log_p_true(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.log_softmax(logits, dim=-1).gather(1, labels.unsqueeze(1)).squeeze(1)


def _focal_weights(labels: Tensor, class_weights: Tensor, alpha: float | None) -> Tensor:
    """A weight for each trial, `(batch,)`."""
    if alpha is None:
        return class_weights[labels]
    if not 0 < alpha < 1:
        raise ValueError(f"loss.alpha = {alpha} leaves a class without weight: choose one above 0 and below 1")
    return _on((1 - alpha, alpha), class_weights.device, class_weights.dtype)[labels]


@lru_cache
def _on(weights: tuple[float, float], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Made once: a GPU would have to wait for a new copy in every step. A tensor made in inference mode could not train."""
    with torch.inference_mode(False):
        return torch.tensor(weights, device=device, dtype=dtype)


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    return (weights * values).sum() / weights.sum()


@dataclass
class LossSchedule:
    """Which loss an epoch (counted from 1) trains with; driven by the dev EER alone.

    `hybrid` trains with cross-entropy until an epoch *ends* with dev EER < `switch_eer`. The next epoch is the first of
    `blend_epochs` over which focal loss takes over in equal steps; `switch_epoch` is that epoch's number. Focal loss is scaled
    in the blend (`focal_scale`), so that the gradient is as large as cross-entropy's whatever the share.
    """

    config: LossConfig
    switch_epoch: int | None = None

    def focal_weight(self, epoch: int) -> float:
        """The share of focal loss in `epoch`, in [0, 1]: k / blend_epochs in the k-th epoch from the switch on."""
        if self.config.kind != "hybrid":
            return float(self.config.kind == "focal")
        if self.switch_epoch is None or epoch < self.switch_epoch:
            return 0.0
        return min((epoch - self.switch_epoch + 1) / self.config.blend_epochs, 1.0)

    def observe(self, epoch: int, dev_eer: float) -> bool:
        """Take note of the dev EER (a fraction) at the end of `epoch`; True when this is what triggers the switch."""
        if self.config.kind != "hybrid" or self.switch_epoch is not None or dev_eer >= self.config.switch_eer:
            return False
        self.switch_epoch = epoch + 1
        return True

    def loss(self, logits: Tensor, labels: Tensor, epoch: int) -> Tensor:
        """The loss of a batch in `epoch`, a scalar in nats. Shapes as in `weighted_cross_entropy`."""
        config = self.config
        if config.kind == "oc_softmax":
            return oc_softmax(logits, labels)
        weights = _on(config.class_weights, logits.device, logits.dtype)
        share = self.focal_weight(epoch)
        total = logits.new_zeros(())
        if share < 1:
            total = total + (1 - share) * weighted_cross_entropy(logits, labels, weights)
        if share > 0:
            given = (logits, labels, weights, config.gamma, config.alpha)
            scale = focal_scale(*given) if config.kind == "hybrid" else 1.0
            total = total + share * scale * focal_loss(*given)
        return total
