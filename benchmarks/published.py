"""The paper's back end in its plainest form, with the published names: the reference of the tests and the baseline of the
benchmark. It is written from the facts of the published code (docs/paper.md) and shares nothing with the library.

    python -m benchmarks.published tests/data/paper_back_end

writes `.safetensors` (seeded weights of a small back end) and `.json` (what it gives: logits, values inside, a training step).
It follows the published code in speed as well: images with channels first, and the weights of every `nn.MultiheadAttention`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

SIZES = {"features": 1024, "projection": 128, "channels": (32, 64), "dims": (64, 32)}
SMALL = {"features": 24, "projection": 48, "channels": (4, 8), "dims": (8, 4)}
HEADS, DROPOUT, POOL_DROPOUT, READOUT_DROPOUT = 4, 0.2, 0.3, 0.5
INPUTS = {"0": (100, 2, 201), "1": (101, 1, 201), "2": (102, 3, 100), "3": (103, 1, 400)}
"""Seed, batch and frames of the evaluated inputs."""
TRAINING = (200, 4, 201)
INSIDE = (
    "feature_proj", "encoder", "attention", "gat_S", "pool_S", "gat_T", "pool_T",
    *(f"hgat_streams.{stream}.{part}" for stream in (0, 1) for part in ("hgat1", "pool_hS", "pool_hT", "hgat2")),
    "norm_T", "norm_S", "norm_master",
)  # fmt: skip
"""Modules whose outputs are compared."""


class Block(nn.Module):
    def __init__(self, inside: int, outside: int, first: bool) -> None:
        super().__init__()
        if not first:
            self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, outside, (2, 3), padding=(1, 1))
        self.bn2 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, (2, 3), padding=(0, 1))
        if inside != outside:
            self.conv_downsample = nn.Conv2d(inside, outside, (1, 3), padding=(0, 1))

    def forward(self, image: Tensor) -> Tensor:
        inside = functional.gelu(self.bn1(image)) if hasattr(self, "bn1") else image
        inside = self.conv2(functional.gelu(self.bn2(self.conv1(inside))))
        return inside + (self.conv_downsample(image) if hasattr(self, "conv_downsample") else image)


class GraphLayer(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.drop = nn.Dropout(DROPOUT)
        self.mha = attention(inside)
        self.proj_with_att, self.proj_without_att = nn.Linear(inside, outside), nn.Linear(inside, outside)
        self.bn = nn.BatchNorm1d(outside)

    def forward(self, nodes: Tensor) -> Tensor:
        nodes = self.drop(nodes)
        mixed = self.mha(nodes, nodes, nodes)[0]
        summed = self.proj_with_att(mixed) + self.proj_without_att(nodes)
        return functional.gelu(self.bn(summed.transpose(1, 2)).transpose(1, 2))


class TypedAttention(nn.Module):
    def __init__(self, inside: int) -> None:
        super().__init__()
        for name in ("to_q1", "to_q2", "to_k1", "to_k2", "to_v", "to_out"):
            setattr(self, name, nn.Linear(inside, inside))
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, nodes: Tensor, first: int) -> Tensor:
        one, two = nodes[:, :first], nodes[:, first:]
        query = torch.cat([self.to_q1(one), self.to_q2(two)], dim=1)
        key = torch.cat([self.to_k1(one), self.to_k2(two)], dim=1)
        query, key, value = (x.view(*x.shape[:2], HEADS, -1).transpose(1, 2) for x in (query, key, self.to_v(nodes)))
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.drop(self.to_out(mixed.transpose(1, 2).reshape(nodes.shape)))


class HeterogeneousLayer(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.proj_type1, self.proj_type2 = nn.Linear(inside, inside), nn.Linear(inside, inside)
        self.drop = nn.Dropout(DROPOUT)
        self.het_attention, self.mha_master = TypedAttention(inside), attention(inside)
        for name in ("proj_with_att", "proj_without_att", "proj_with_attM", "proj_without_attM"):
            setattr(self, name, nn.Linear(inside, outside))
        self.bn = nn.BatchNorm1d(outside)

    def forward(self, temporal: Tensor, spectral: Tensor, master: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        nodes = self.drop(torch.cat([self.proj_type1(temporal), self.proj_type2(spectral)], dim=1))
        first = temporal.shape[1]
        of_master = self.proj_with_attM(self.mha_master(master, nodes, nodes)[0]) + self.proj_without_attM(master)
        summed = self.proj_with_att(self.het_attention(nodes, first)) + self.proj_without_att(nodes)
        nodes = functional.gelu(self.bn(summed.transpose(1, 2)).transpose(1, 2))
        return nodes[:, :first], nodes[:, first:], of_master


class Pool(nn.Module):
    def __init__(self, inside: int) -> None:
        super().__init__()
        self.drop, self.proj = nn.Dropout(POOL_DROPOUT), nn.Linear(inside, 1)

    def forward(self, nodes: Tensor) -> Tensor:
        scores = torch.sigmoid(self.proj(self.drop(nodes)))
        kept = scores.topk(max(nodes.shape[1] // 2, 1), dim=1).indices
        return (nodes * scores).gather(1, kept.expand(-1, -1, nodes.shape[2]))


class Stream(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.hgat1, self.hgat2 = HeterogeneousLayer(inside, outside), HeterogeneousLayer(outside, outside)
        self.pool_hT, self.pool_hS = Pool(outside), Pool(outside)

    def forward(self, temporal: Tensor, spectral: Tensor, master: Tensor) -> list[Tensor]:
        temporal, spectral, master = self.hgat1(temporal, spectral, master)
        first = (self.pool_hT(temporal), self.pool_hS(spectral), master)
        return [one + two for one, two in zip(first, self.hgat2(*first), strict=True)]


class PublishedBackEnd(nn.Module):
    """Features `(batch, frames, features)` -> logits `(batch, 2)`, [spoof, bona fide]."""

    def __init__(self, features: int, projection: int, channels: tuple[int, int], dims: tuple[int, int]) -> None:
        super().__init__()
        narrow, wide = channels
        inner, outer = dims
        self.feature_proj = nn.Linear(features, projection)
        self.pre_encoder_bn, self.post_encoder_bn = nn.BatchNorm2d(1), nn.BatchNorm2d(wide)
        widths = [1, narrow, narrow, wide, wide, wide, wide]
        self.encoder = nn.Sequential(
            *(Block(*pair, first=not n) for n, pair in enumerate(zip(widths, widths[1:], strict=False)))
        )
        self.attention = nn.Sequential(
            nn.Conv2d(wide, 2 * wide, 1), nn.GELU(), nn.BatchNorm2d(2 * wide), nn.Conv2d(2 * wide, wide, 1)
        )
        self.pos_S = nn.Parameter(torch.randn(1, projection // 3, wide))
        self.gat_S, self.gat_T, self.pool_S, self.pool_T = (
            GraphLayer(wide, inner),
            GraphLayer(wide, inner),
            Pool(inner),
            Pool(inner),
        )
        self.masters = nn.ParameterList([nn.Parameter(torch.randn(1, 1, inner)) for _ in range(2)])
        self.hgat_streams = nn.ModuleList([Stream(inner, outer) for _ in range(2)])
        for name in ("T", "S", "master"):
            setattr(self, f"stream_combiner_{name}", attention(outer))
            setattr(self, f"norm_{name}", nn.LayerNorm(outer))
        self.drop, self.drop_way = nn.Dropout(READOUT_DROPOUT), nn.Dropout(DROPOUT)
        self.out_layer = nn.Linear(5 * outer, 2)

    def forward(self, features: Tensor) -> Tensor:
        image = functional.max_pool2d(self.feature_proj(features).transpose(1, 2).unsqueeze(1), 3)
        image = self.encoder(functional.gelu(self.pre_encoder_bn(image)))
        image = functional.gelu(self.post_encoder_bn(image))
        weights = self.attention(image)
        spectral = (image * weights.softmax(dim=-1)).sum(dim=-1).transpose(1, 2) + self.pos_S
        temporal = (image * weights.softmax(dim=-2)).sum(dim=-2).transpose(1, 2)
        spectral, temporal = self.pool_S(self.gat_S(spectral)), self.pool_T(self.gat_T(temporal))
        streams = [
            stream(temporal, spectral, master.expand(len(features), -1, -1))
            for stream, master in zip(self.hgat_streams, self.masters, strict=True)
        ]
        temporal, spectral, master = (
            self._fuse(name, [self.drop_way(nodes) for nodes in pair])
            for name, pair in zip(("T", "S", "master"), zip(*streams, strict=True), strict=True)
        )
        parts = [temporal.abs().amax(dim=1), temporal.mean(dim=1), spectral.abs().amax(dim=1), spectral.mean(dim=1)]
        return self.out_layer(self.drop(torch.cat([*parts, master.mean(dim=1)], dim=1)))

    def _fuse(self, name: str, streams: list[Tensor]) -> Tensor:
        nodes = torch.cat(streams, dim=1)
        return getattr(self, f"norm_{name}")(nodes + getattr(self, f"stream_combiner_{name}")(nodes, nodes, nodes)[0])


def attention(features: int) -> nn.MultiheadAttention:
    return nn.MultiheadAttention(features, HEADS, dropout=DROPOUT, batch_first=True)


# ---- golden values ---------------------------------------------------------------------------------------------------


def made_input(seed: int, batch: int, frames: int, features: int) -> Tensor:
    """Features `(batch, frames, features)` with an offset and a slow change of level, as an encoder's are."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((batch, frames, features))
    values += 3 * rng.standard_normal((batch, 1, features))
    values *= (1 + 0.8 * np.sin(2 * np.pi * np.arange(frames) / 40 + rng.uniform(0, 6.28, (batch, 1))))[..., None]
    return torch.from_numpy(values.astype(np.float32))


def without_dropout(model: nn.Module) -> nn.Module:
    """The model in training form with dropout 0, so that it is deterministic."""
    for module in model.train().modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    return model


def inside(model: nn.Module, features: Tensor, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Outputs of modules in a forward pass. `names`: the name of a value -> the module. A layer's several outputs get the names
    `<name>.temporal`, `.spectral` and `.master`; of a tuple whose second part is no node (maps, indices), only the first."""
    found: dict[str, Tensor] = {}

    def note(name: str, output: Tensor | tuple) -> None:
        if isinstance(output, tuple) and len(output) > 2:
            found.update(
                {f"{name}.{kind}": part for kind, part in zip(("temporal", "spectral", "master"), output, strict=False)}
            )
        else:
            found[name] = output[0] if isinstance(output, tuple) else output

    hooks = [
        model.get_submodule(module).register_forward_hook(lambda _, __, output, name=name: note(name, output))
        for name, module in names.items()
    ]
    with torch.no_grad():
        model(features)
    for hook in hooks:
        hook.remove()
    return found


def summary(value: Tensor) -> dict:
    """Shape, mean, deviation and first values of a tensor, as JSON."""
    first = value.flatten()[:4].tolist()
    return {"shape": list(value.shape), "mean": value.mean().item(), "std": value.std().item(), "first": first}


def golden(model: PublishedBackEnd, features: int) -> dict:
    """What the back end gives: logits of `INPUTS`, values inside for the first, and a training step without dropout.

    In double precision, so that the values do not depend on the order of sums."""
    found: dict = {}
    model = model.double()
    for key, (seed, batch, frames) in INPUTS.items():
        given = made_input(seed, batch, frames, features).double()
        with torch.no_grad():
            logits = model.eval()(given)
        found[key] = {"seed": seed, "batch": batch, "frames": frames, "logits": logits.tolist()}
        if key == "0":
            found[key]["inside"] = {n: summary(v) for n, v in inside(model, given, {n: n for n in INSIDE}).items()}
    seed, batch, frames = TRAINING
    labels = [number % 2 for number in range(batch)]
    logits = without_dropout(model)(made_input(seed, batch, frames, features).double())
    loss = functional.cross_entropy(logits, torch.tensor(labels))
    loss.backward()
    norms = {name: parameter.grad.norm().item() for name, parameter in model.named_parameters()}
    found["train"] = {"seed": seed, "batch": batch, "frames": frames, "labels": labels, "logits": logits.tolist()}
    found["train"] |= {"cross_entropy": loss.item(), "grad_norms": norms}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, help="where to write, without suffix")
    path = parser.parse_args().path
    torch.manual_seed(0)
    model = PublishedBackEnd(**SMALL)
    for module in model.modules():  # statistics and weights as after training, so that a norm left out shows
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5), nn.init.uniform_(module.bias, -0.5, 0.5)
            module.running_mean.uniform_(-0.5, 0.5), module.running_var.uniform_(0.5, 2)
    save_file(model.state_dict(), path.with_suffix(".safetensors"))
    path.with_suffix(".json").write_text(json.dumps(golden(model, SMALL["features"]), indent=1) + "\n")


if __name__ == "__main__":
    main()
