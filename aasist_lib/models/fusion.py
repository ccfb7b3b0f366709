"""Fusion of AASIST's two parallel streams: learned attention (paper, idea 3) or the original element-wise maximum."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentionFusion(nn.Module):
    """Every node of either stream attends to the nodes of both; residual, then LayerNorm.

    The streams pool their nodes independently, so their n-th nodes need not correspond: attention matches them by content,
    a maximum by position. `(batch, n, features)` twice -> `(batch, 2n, features)`.
    """

    def __init__(self, features: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(features, heads, dropout=dropout, batch_first=True)
        self.norm = nn.LayerNorm(features)

    def forward(self, first: Tensor, second: Tensor, return_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        """Returns the fused nodes and, if asked for, weights `(batch, heads, 2n, 2n)`."""
        nodes = torch.cat([first, second], dim=1)
        mixed, weights = self.attention(nodes, nodes, nodes, need_weights=return_weights, average_attn_weights=False)
        return self.norm(nodes + mixed), weights


class MaxFusion(nn.Module):
    """Element-wise maximum of the streams (original AASIST): `(batch, n, features)` twice -> `(batch, n, features)`."""

    def forward(self, first: Tensor, second: Tensor, return_weights: bool = False) -> tuple[Tensor, None]:
        """The fused nodes; there are no weights to return."""
        return torch.maximum(first, second), None
