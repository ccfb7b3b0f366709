"""From a clip's embedding to two logits: a linear layer, or the angle to a learned direction that OC-softmax needs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from aasist_lib.config import ModelConfig
from aasist_lib.losses import OC_MARGINS, OC_SCALE


class CosineReadout(nn.Module):
    """`embedding (batch, in_features)` -> logits `(batch, 2)`, [spoof, bona fide], by its cosine to a learned direction.

    The direction is bona fide's (Zhang, Jiang, Duan 2021, "One-class learning towards synthetic voice spoofing detection").
    The score logit[1] - logit[0] is OC_SCALE (cosine - middle of OC_MARGINS), so it orders trials like the cosine, the
    score of that publication. It is between -31 and 9 and is 0 halfway between the margins. Because `losses.oc_softmax` trains
    it with margins it is not a log-odds value: calibrate on dev before reading it as one.
    """

    def __init__(self, in_features: int) -> None:
        super().__init__()
        # Only the angle counts; a length near 1 lets it turn at a step as other layers' weights do.
        self.direction = nn.Parameter(torch.randn(in_features) / in_features**0.5)

    def forward(self, embedding: Tensor) -> Tensor:
        cosine = functional.cosine_similarity(embedding, self.direction, dim=-1)
        half = OC_SCALE / 2 * (cosine - sum(OC_MARGINS) / 2)
        return torch.stack([-half, half], dim=-1)


def build_readout(config: ModelConfig, in_features: int) -> nn.Module:
    """The readout that `config.readout` names: `(batch, in_features)` -> logits `(batch, 2)`, [spoof, bona fide]."""
    return CosineReadout(in_features) if config.readout == "cosine" else nn.Linear(in_features, 2)
