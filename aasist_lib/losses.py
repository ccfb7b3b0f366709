"""Losses, and the switch from cross-entropy to focal loss (paper, idea 4). docs/losses.md explains which to use when.

Labels: bona fide = 1, spoof = 0; logits are `[spoof, bona fide]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from aasist_lib.config import LossConfig

OC_SCALE = 20.0
"""Factor on the cosines in OC-softmax (alpha in Zhang et al. 2021)."""

OC_MARGINS = (0.2, 0.9)
"""[spoof, bona fide]: OC-softmax trains spoof cosines to be below the first and bona fide cosines above the second."""


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

    With `gamma` = 0 it is `weighted_cross_entropy`. Shapes as there. `alpha`, within (0, 1), is the weight of bona fide and
    1 - `alpha` that of spoof; it replaces `class_weights`.

    Raises:
        ValueError: `alpha` leaves a class without weight.
    """
    log_p = _log_p_true(logits, labels)
    weights = _focal_weights(labels, class_weights, alpha)
    # -expm1(log p) is 1 - p without cancellation when p is close to 1. At 0 a gamma below 1 would have no gradient.
    missing = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
    return -(weights * missing**gamma * log_p).sum() / weights.sum()


def focal_scale(logits: Tensor, labels: Tensor, class_weights: Tensor, gamma: float, alpha: float | None = None) -> Tensor:
    """The factor that gives focal loss the gradient magnitude of cross-entropy over a batch, a scalar without gradient.

    If p is the probability of a trial's true class, the derivative of its cross-entropy by the logits has the magnitude 1 - p,
    that of its focal loss `(1 - p)^gamma (1 - p - gamma p log p)`; the factor is the ratio of their weighted means,
    cross-entropy's by `class_weights` and focal loss's by its own weights. Scaled this way, focal loss moves weight from easy
    trials to hard ones without reducing the effective learning rate. Shapes and errors as in `focal_loss`.
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
    loss of s that asks for bona fide above `margin` and spoof below -`margin`. Shapes as in `weighted_cross_entropy`.
    """
    margin = OC_SCALE * (OC_MARGINS[1] - OC_MARGINS[0]) / 2
    towards_truth = (logits[:, 1] - logits[:, 0]) * (2 * labels - 1)
    return -functional.logsigmoid(towards_truth - margin).mean()


def ranking_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of `log(1 + exp(spoof score - bona fide score))` over all pairs of a bona fide and a spoofed trial of a batch.

    It is 0 nats if every bona fide trial scores far above every spoof; log 2 at random. Unlike cross-entropy it asks only for
    the order, so what a recording and its vocoded copy in the same batch have in common cancels (Burges et al. 2005, RankNet).

    Args:
        logits: `(batch, 2)` or `(members, batch, 2)`; only trials of the same member are compared.
        labels: `(batch,)`. Without both classes the loss is 0.
    """
    scores = logits[..., 1] - logits[..., 0]
    above = functional.softplus(scores[..., None, :] - scores[..., :, None])
    pairs = (labels[:, None] > labels[None, :]).to(above.dtype).expand_as(above)
    return (above * pairs).sum() / pairs.sum().clamp_min(1)


def _log_p_true(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.log_softmax(logits, dim=-1).gather(1, labels.unsqueeze(1)).squeeze(1)


def _focal_weights(labels: Tensor, class_weights: Tensor, alpha: float | None) -> Tensor:
    """One weight per trial, `(batch,)`."""
    if alpha is None:
        return class_weights[labels]
    if not 0 < alpha < 1:
        raise ValueError(f"loss.alpha = {alpha} leaves a class without weight: choose one above 0 and below 1")
    return _on((1 - alpha, alpha), class_weights.device, class_weights.dtype)[labels]


@lru_cache
def _on(weights: tuple[float, float], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Cached, because a GPU would wait for a new copy in every step; a tensor made in inference mode could not train."""
    with torch.inference_mode(False):
        return torch.tensor(weights, device=device, dtype=dtype)


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    return (weights * values).sum() / weights.sum()


@dataclass
class LossSchedule:
    """The loss of each epoch (counted from 1); only the dev EER triggers the switch.

    `hybrid` trains with cross-entropy until an epoch *ends* with dev EER < `switch_eer`. The next epoch is the first of
    `blend_epochs` over which focal loss replaces cross-entropy in equal steps; `switch_epoch` is that epoch. In the blend
    focal loss is scaled (`focal_scale`), so the gradient is as large as that of cross-entropy for any share.
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
        """Record the dev EER (a fraction) at the end of `epoch`; return True if it triggers the switch."""
        if self.config.kind != "hybrid" or self.switch_epoch is not None or dev_eer >= self.config.switch_eer:
            return False
        self.switch_epoch = epoch + 1
        return True

    def loss(self, logits: Tensor, labels: Tensor, epoch: int) -> Tensor:
        """The loss of a batch in `epoch`, a scalar in nats: the mean over the members if there are several.

        Args:
            logits: `(batch, 2)` or `(members, batch, 2)`.
            labels: `(batch,)`.
        """
        flat = logits.flatten(0, -2)
        total = self._by_trial(flat, labels.repeat(len(flat) // len(labels)), epoch)
        return total + self.config.ranking * ranking_loss(logits, labels) if self.config.ranking else total

    def _by_trial(self, logits: Tensor, labels: Tensor, epoch: int) -> Tensor:
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
