"""Graph attention on nodes `(batch, nodes, features)`, built on `nn.MultiheadAttention` and SDPA (paper, idea 2), as published.

Original AASIST's attention forms every pairwise product of nodes (`pairwise.py`); here attention is standard, so fast kernels
apply. Weights are computed on request only: then an explicit softmax replaces the fused kernel, with the same output. The
published code requests them always; its outputs are the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from aasist_lib.config import ModelConfig
from aasist_lib.models.base import activation


class GraphAttention(nn.Module):
    """Attention among nodes of one type: `(batch, nodes, in_features)` -> `(batch, nodes, out_features)`.

    As in AASIST (Jung et al. 2022, eq. 3) the aggregated neighbours and the node itself are projected separately and summed:

        h'_n = GELU(BN(W_neighbours attention(h)_n + W_itself h_n))
    """

    def __init__(self, in_features: int, out_features: int, config: ModelConfig) -> None:
        super().__init__()
        heads, dropout = config.heads, config.attention_dropout
        self.drop = nn.Dropout(config.dropout)
        self.attention = nn.MultiheadAttention(in_features, heads, dropout=dropout, batch_first=True)
        self.neighbours = nn.Linear(in_features, out_features)
        self.itself = nn.Linear(in_features, out_features)
        self.norm, self.activation = nn.BatchNorm1d(out_features), activation(config.activation)

    def forward(self, nodes: Tensor, return_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        """Returns the new nodes and, if asked for, the weights `(batch, heads, nodes, nodes)`, rows summing to 1."""
        nodes = self.drop(nodes)
        mixed, weights = self.attention(nodes, nodes, nodes, need_weights=return_weights, average_attn_weights=False)
        return self.activation(norm_nodes(self.neighbours(mixed) + self.itself(nodes), self.norm)), weights


class GraphPool(nn.Module):
    """Keeps the `ratio` of nodes with the highest learned score, multiplied by the score; returns `(nodes, kept (batch,
    n))`."""

    def __init__(self, features: int, ratio: float, dropout: float) -> None:
        super().__init__()
        self.ratio = ratio
        self.score = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, 1), nn.Sigmoid())

    def forward(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.score(nodes)
        count = max(int(nodes.shape[1] * self.ratio), 1)
        kept = scores.squeeze(-1).topk(count, dim=1).indices
        index = kept.unsqueeze(-1).expand(-1, -1, nodes.shape[-1])
        return (nodes * scores).gather(1, index), kept


class HeterogeneousAttention(nn.Module):
    """Attention among temporal and spectral nodes with Q and K projections per node type, and a stack node.

    Every node attends to every node of both types, with query and key projections that depend on the node's type; they replace
    AASIST's weight vectors per pair of types. The stack (master) node attends to all nodes by a multi-head attention of its
    own; it is neither normalised nor activated.

    Shapes: temporal `(batch, T, in)`, spectral `(batch, S, in)`, stack `(batch, 1, in)` -> the same with `out` features.
    """

    def __init__(self, in_features: int, out_features: int, config: ModelConfig) -> None:
        super().__init__()
        self.heads, dropout = config.heads, config.attention_dropout
        self.embed = _per_type(in_features)
        self.drop = nn.Dropout(config.dropout)
        self.query, self.key = _per_type(in_features), _per_type(in_features)
        self.value, self.output = nn.Linear(in_features, in_features), nn.Linear(in_features, in_features)
        self.drop_output = nn.Dropout(dropout)
        self.stack_attention = nn.MultiheadAttention(in_features, self.heads, dropout=dropout, batch_first=True)
        self.neighbours, self.itself = nn.Linear(in_features, out_features), nn.Linear(in_features, out_features)
        self.stack_neighbours, self.stack_itself = nn.Linear(in_features, out_features), nn.Linear(in_features, out_features)
        self.norm, self.activation = nn.BatchNorm1d(out_features), activation(config.activation)

    def forward(
        self, temporal: Tensor, spectral: Tensor, stack: Tensor, return_weights: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Returns new temporal, spectral and stack nodes and, if asked for, weights `(batch, heads, T + S + 1, T + S)`:
        rows are queries (temporal, spectral, stack node last), columns keys (temporal, spectral)."""
        sizes = [temporal.shape[1], spectral.shape[1]]
        nodes = self.drop(torch.cat([self.embed["temporal"](temporal), self.embed["spectral"](spectral)], dim=1))
        mixed, weights = self._attend(nodes, sizes, return_weights)
        of_stack, stack_weights = self.stack_attention(
            stack, nodes, nodes, need_weights=return_weights, average_attn_weights=False
        )
        new_stack = self.stack_neighbours(of_stack) + self.stack_itself(stack)
        new_nodes = self.activation(norm_nodes(self.neighbours(mixed) + self.itself(nodes), self.norm))
        new_temporal, new_spectral = new_nodes.split(sizes, dim=1)
        maps = None if weights is None else torch.cat([weights, stack_weights], dim=2)
        return new_temporal, new_spectral, new_stack, maps

    def _attend(self, nodes: Tensor, sizes: list[int], return_weights: bool) -> tuple[Tensor, Tensor | None]:
        """Attention of all nodes to all nodes; queries and keys are projected by type. There is no dropout on its weights."""
        temporal, spectral = nodes.split(sizes, dim=1)
        query = torch.cat([self.query["temporal"](temporal), self.query["spectral"](spectral)], dim=1)
        key = torch.cat([self.key["temporal"](temporal), self.key["spectral"](spectral)], dim=1)
        query, key, value = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (query, key, self.value(nodes)))
        if return_weights:
            weights = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(dim=-1)
            mixed = weights @ value
        else:
            weights, mixed = None, functional.scaled_dot_product_attention(query, key, value)
        return self.drop_output(self.output(mixed.transpose(1, 2).flatten(-2))), weights


def _per_type(features: int) -> nn.ModuleDict:
    return nn.ModuleDict({kind: nn.Linear(features, features) for kind in ("temporal", "spectral")})


def norm_nodes(nodes: Tensor, norm: nn.BatchNorm1d) -> Tensor:
    """Batch normalisation over all nodes of the batch."""
    return norm(nodes.flatten(0, 1)).view_as(nodes)
