"""Original AASIST's graph attention (Jung et al. 2022, arXiv 2110.01200): a score for every pair of nodes from their product.

Same interface as `graph.GraphAttention` and `graph.HeterogeneousAttention`, with one head. Memory grows with nodes squared
times features. The formulas follow the paper, and the official model where the paper leaves a choice (tanh, temperature,
sharing between node types).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aasist_lib.config import ModelConfig
from aasist_lib.models.base import activation
from aasist_lib.models.graph import norm_nodes


class PairwiseAttention(nn.Module):
    """Attention among nodes of one type: `(batch, nodes, in_features)` -> `(batch, nodes, out_features)`.

    For nodes h_n, with a vector w, matrices W, temperature t and the activation of the configuration (SELU in the paper):

        a_nm = softmax over m of  w . tanh(W_pair (h_n * h_m)) / t
        h'_n = act(BN(W_neighbours (sum over m of a_nm h_m) + W_itself h_n))
    """

    def __init__(self, in_features: int, out_features: int, config: ModelConfig) -> None:
        super().__init__()
        self.temperature = config.temperatures[0]
        self.drop = nn.Dropout(config.dropout)
        self.pair = nn.Linear(in_features, out_features)
        self.pair_vector = _vector(out_features)
        self.neighbours = nn.Linear(in_features, out_features)
        self.itself = nn.Linear(in_features, out_features)
        self.norm, self.activation = nn.BatchNorm1d(out_features), activation(config.activation)

    def forward(self, nodes: Tensor, return_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        """Returns the new nodes and, if asked for, the weights `(batch, 1, nodes, nodes)`, rows summing to 1."""
        nodes = self.drop(nodes)
        scores = (torch.tanh(self.pair(_products(nodes))) @ self.pair_vector).squeeze(-1)
        weights = (scores / self.temperature).softmax(dim=-1)
        new = self.activation(norm_nodes(self.neighbours(weights @ nodes) + self.itself(nodes), self.norm))
        return new, weights.unsqueeze(1) if return_weights else None


class HeterogeneousPairwise(nn.Module):
    """The heterogeneous stacking graph attention layer (HS-GAL): both types of nodes in one graph, and a stack node.

    Each type has a projection of its own, h = W_type x. Scores are those of `PairwiseAttention`, but the vector w depends on
    the types of the pair: temporal-temporal, spectral-spectral, or across (the same in both directions). The stack node s
    attends to all nodes, is not attended to, and is not normalised:

        b_n = softmax over n of  w_stack . tanh(W_stack_pair (h_n * s)) / t
        s'  = W_stack_neighbours (sum over n of b_n h_n) + W_stack_itself s

    Shapes: temporal `(batch, T, in)`, spectral `(batch, S, in)`, stack `(batch, 1, in)`, or `(1, 1, in)` for a stack node that
    the batch shares -> the same with `out` features and the whole batch.
    """

    def __init__(self, in_features: int, out_features: int, config: ModelConfig) -> None:
        super().__init__()
        self.temperature = config.temperatures[1]
        self.drop = nn.Dropout(config.dropout)
        self.embed = nn.ModuleDict({kind: nn.Linear(in_features, in_features) for kind in ("temporal", "spectral")})
        self.pair = nn.Linear(in_features, out_features)
        self.stack_pair = nn.Linear(in_features, out_features)
        kinds = ("temporal", "spectral", "across", "stack")
        self.pair_vectors = nn.ParameterDict({kind: _vector(out_features) for kind in kinds})
        self.neighbours = nn.Linear(in_features, out_features)
        self.itself = nn.Linear(in_features, out_features)
        self.stack_neighbours = nn.Linear(in_features, out_features)
        self.stack_itself = nn.Linear(in_features, out_features)
        self.norm, self.activation = nn.BatchNorm1d(out_features), activation(config.activation)

    def forward(
        self, temporal: Tensor, spectral: Tensor, stack: Tensor, return_weights: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Returns new temporal, spectral and stack nodes and, if asked for, weights `(batch, 1, T + S + 1, T + S)`: rows are
        queries (temporal, spectral, stack node last), columns keys (temporal, spectral)."""
        sizes = [temporal.shape[1], spectral.shape[1]]
        nodes = self.drop(torch.cat([self.embed["temporal"](temporal), self.embed["spectral"](spectral)], dim=1))
        weights = (self._scores(nodes, sizes[0]) / self.temperature).softmax(dim=-1)
        stack_scores = torch.tanh(self.stack_pair(nodes * stack)) @ self.pair_vectors["stack"]
        stack_weights = (stack_scores.transpose(1, 2) / self.temperature).softmax(dim=-1)
        new_stack = self.stack_neighbours(stack_weights @ nodes) + self.stack_itself(stack)
        new_nodes = self.activation(norm_nodes(self.neighbours(weights @ nodes) + self.itself(nodes), self.norm))
        new_temporal, new_spectral = new_nodes.split(sizes, dim=1)
        maps = torch.cat([weights, stack_weights], dim=1).unsqueeze(1) if return_weights else None
        return new_temporal, new_spectral, new_stack, maps

    def _scores(self, nodes: Tensor, temporal: int) -> Tensor:
        """`(batch, T + S, T + S)`, the first `temporal` nodes being the temporal ones."""
        hidden, vectors = torch.tanh(self.pair(_products(nodes))), self.pair_vectors
        rows = []
        for row, left, right in (
            (hidden[:, :temporal], "temporal", "across"),
            (hidden[:, temporal:], "across", "spectral"),
        ):
            rows.append(torch.cat([row[:, :, :temporal] @ vectors[left], row[:, :, temporal:] @ vectors[right]], dim=2))
        return torch.cat(rows, dim=1).squeeze(-1)


def _vector(features: int) -> nn.Parameter:
    return nn.Parameter(nn.init.xavier_normal_(torch.empty(features, 1)))


def _products(nodes: Tensor) -> Tensor:
    """Element-wise product of every pair of nodes: `(batch, nodes, nodes, features)`."""
    return nodes.unsqueeze(2) * nodes.unsqueeze(1)
