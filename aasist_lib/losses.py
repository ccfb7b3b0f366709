"""Cross-entropy, focal loss and the move from one to the other (paper, idea 4).

Labels: bona fide = 1, spoof = 0; logits are `[spoof, bona fide]`, as said in `aasist_lib.metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from aasist_lib.config import LossConfig


def weighted_cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor) -> Tensor:
    """Class-weighted cross-entropy, a scalar: the weighted mean over the batch.

    Args:
        logits: `(batch, 2)`.
        labels: `(batch,)` of 0 or 1.
        class_weights: `(2,)`, [spoof, bona fide].
    """
    return functional.cross_entropy(logits, labels, weight=class_weights)


def focal_loss(logits: Tensor, labels: Tensor, class_weights: Tensor, gamma: float) -> Tensor:
    """Focal loss (Lin et al. 2017, eq. 5): each trial's cross-entropy times `(1 - p_true) ** gamma`, then the weighted mean.

    With `gamma` = 0 it is `weighted_cross_entropy`. Shapes as there.
    """
    log_p = functional.log_softmax(logits, dim=-1).gather(1, labels.unsqueeze(1)).squeeze(1)
    # -expm1(log p) is 1 - p without cancellation when p is close to 1.
    weights = class_weights[labels]
    return -(weights * (-torch.expm1(log_p)) ** gamma * log_p).sum() / weights.sum()


def focal_scale(logits: Tensor, labels: Tensor, class_weights: Tensor, gamma: float) -> Tensor:
    """The factor at which focal loss pulls at a batch's logits as strongly as cross-entropy, a scalar without gradient.

    With p the probability of a trial's true class, the derivative of its cross-entropy by the logits is 1 - p in size, that of
    its focal loss `(1 - p)^gamma (1 - p - gamma p log p)`; the factor is the ratio of their weighted sums. Focal loss then
    moves weight from easy trials to hard ones and does not turn down the learning rate besides. Shapes as in `focal_loss`.
    """
    log_p = functional.log_softmax(logits.detach(), dim=-1).gather(1, labels.unsqueeze(1)).squeeze(1)
    weights, p, missing = class_weights[labels], log_p.exp(), -torch.expm1(log_p)
    tiny = torch.finfo(logits.dtype).tiny
    return (weights * missing).sum() / (weights * missing**gamma * (missing - gamma * p * log_p)).sum().clamp_min(tiny)


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
        """The loss of a batch in `epoch`, a scalar. Shapes as in `weighted_cross_entropy`."""
        weights = torch.tensor(self.config.class_weights, device=logits.device, dtype=logits.dtype)
        share = self.focal_weight(epoch)
        total = logits.new_zeros(())
        if share < 1:
            total = total + (1 - share) * weighted_cross_entropy(logits, labels, weights)
        if share > 0:
            scale = focal_scale(logits, labels, weights, self.config.gamma) if self.config.kind == "hybrid" else 1.0
            total = total + share * scale * focal_loss(logits, labels, weights, self.config.gamma)
        return total
