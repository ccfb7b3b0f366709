"""Attention statistics over many clips: means by attack, bona fide against spoof, silence against speech, two systems.

Intervals are percentile bootstraps over clips. The bootstrap assumes independent clips, but clips of one speaker are similar,
so with few speakers the intervals are too narrow. Each interval holds for one band and one map, without a correction for
multiple comparisons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.stats import bootstrap, spearmanr
from torch import nn

from aasist_lib.audio import speech
from aasist_lib.explain.attention import band_curves, node_seconds, time_curves
from aasist_lib.models import AASIST, AttentionMaps, log_odds

BATCH = 16
READOUT = ("temporal, largest", "temporal, mean", "spectral, largest", "spectral, mean", "stack node")
"""The five parts of a clip's embedding, in the order of `aasist._read`."""


@dataclass(frozen=True)
class Attended:
    """Attention on several clips of one length.

    `scores (clips,)` are those of the whole detector, `seconds (T + 1,)` the edges of the temporal nodes. `time` and `bands`
    map a name to `(clips, T)` and `(clips, S)`, with rows summing to 1. `blocks` has one row per clip and one column per pair
    of node types, such as 'temporal → spectral': the share of the attention of the first type's nodes that goes to the second
    type, averaged over members, streams, heads and nodes.
    """

    scores: np.ndarray
    seconds: np.ndarray
    time: dict[str, np.ndarray]
    bands: dict[str, np.ndarray]
    blocks: pd.DataFrame


@torch.inference_mode()
def attend(model: AASIST, waves: np.ndarray) -> list[Attended]:
    """Compute the attention on `waves (clips, samples)` at 16 kHz, of the detector and of each ensemble member.

    Returns:
        the whole detector first, then each of its members (none if there is only one).
    """
    parts: list[list[Attended]] = []
    for start in range(0, len(waves), BATCH):
        batch = torch.from_numpy(waves[start : start + BATCH]).to(model.device)
        logits, maps = model.eval()(batch, return_attention=True)
        seconds = node_seconds(model, waves.shape[1], maps.temporal.shape[-1])
        alone = [_alone(member) for member in maps.members] if len(maps.members) > 1 else []
        parts.append([_attended(each, logits, seconds) for each in (maps, *alone)])
    return [_joined(systems) for systems in zip(*parts, strict=True)]


def by_attack(curves: np.ndarray, attacks: pd.Series) -> pd.DataFrame:
    """Return the mean curve of each attack, relative to even attention (1 = even). 'bona fide' ('-') is the first row."""
    names = attacks.replace("-", "bona fide").to_numpy()
    means = pd.DataFrame(curves * curves.shape[1]).groupby(names).mean()
    return means.loc[sorted(means.index, key=lambda name: (name != "bona fide", name))]


def class_difference(curves: np.ndarray, labels: pd.Series, seed: int = 0) -> pd.DataFrame:
    """Compare the attention on spoof and on bona fide clips: one row per place, with 95 % intervals.

    Args:
        curves: `(clips, places)`, rows summing to 1.
        labels: 'bonafide' | 'spoof' for each clip.
        seed: seed of the bootstrap.

    Returns:
        `place, bonafide, spoof, difference, low, high`, all relative to even attention (1 = even).
    """
    relative = curves * curves.shape[1]
    spoof = (labels == "spoof").to_numpy()
    found = _interval((relative[spoof], relative[~spoof]), _difference_of_means, seed)
    means = relative[~spoof].mean(axis=0), relative[spoof].mean(axis=0)
    return pd.DataFrame(
        {"place": np.arange(curves.shape[1]), "bonafide": means[0], "spoof": means[1], "difference": means[1] - means[0],
         "low": found[0], "high": found[1]}
    )  # fmt: skip


def silence_attention(attended: Attended, waves: np.ndarray, labels: pd.Series, seed: int = 0) -> pd.DataFrame:
    """Measure how much attention goes to silence, by map and class, with 95 % intervals.

    A node is silent if `audio.speech` finds speech in less than half of it. Clips with less than a tenth of silent nodes, or
    less than a tenth of speech nodes, are left out.

    Returns:
        `map, label, clips, attention, low, high`: attention on silent nodes divided by their share of the nodes; 1 = silence
        gets as much attention as speech.
    """
    silent = np.stack([~_node_speech(wave, attended.seconds) for wave in waves])
    share = silent.mean(axis=1)
    usable = (share >= 0.1) & (share <= 0.9)
    rows = []
    for name, curves in attended.time.items():
        ratio = (curves * silent).sum(axis=1)[usable] / share[usable]
        for label in ("bonafide", "spoof"):
            values = ratio[(labels == label).to_numpy()[usable]]
            low, high = _interval((values,), np.mean, seed) if len(values) > 1 else (np.nan, np.nan)
            mean = values.mean() if len(values) else np.nan
            rows.append((name, label, len(values), mean, low, high))
    return pd.DataFrame(rows, columns=["map", "label", "clips", "attention", "low", "high"])


def agreement(first: Attended, second: Attended, seed: int = 0) -> pd.DataFrame:
    """Compare two systems' curves over time by Spearman's rank correlation, computed for each clip.

    Returns:
        `map, correlation, low, high`: mean over clips with its 95 % interval; 1 = the same order, 0 = unrelated.

    Raises:
        ValueError: the systems have different numbers of temporal nodes, so their places cannot be compared.
    """
    if len(first.seconds) != len(second.seconds):
        counts = len(first.seconds) - 1, len(second.seconds) - 1
        raise ValueError(f"{counts[0]} and {counts[1]} temporal nodes: compare systems with the same front end and clip length")
    rows = []
    for name, curves in first.time.items():
        pairs = zip(curves, second.time[name], strict=True)
        values = np.array([spearmanr(a, b).statistic for a, b in pairs])
        low, high = _interval((values,), np.mean, seed)
        rows.append((name, values.mean(), low, high))
    return pd.DataFrame(rows, columns=["map", "correlation", "low", "high"])


@torch.inference_mode()
def readout_parts(model: AASIST, wave: np.ndarray) -> dict[str, float]:
    """Return how much each part of the embedding adds to a clip's score, averaged over members.

    The parts and 'offset' sum to the score.

    Args:
        model: a detector with a linear readout; the readout of OC-softmax is an angle, which is not a sum of parts.
        wave: `(samples,)` at 16 kHz.

    Raises:
        ValueError: the readout is not linear.
    """
    totals = dict.fromkeys((*READOUT, "offset"), 0.0)
    members = model.eval().backend.members
    readouts = [member.readout for member in members if isinstance(member.readout, nn.Linear)]
    if len(readouts) < len(members):
        raise ValueError(f"model.readout = {model.config.readout}: only a linear readout is a sum of parts")
    seen: list[torch.Tensor] = []
    hooks = [readout.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for readout in readouts]
    try:
        model(torch.from_numpy(wave)[None].to(readouts[0].weight.device))
    finally:
        for hook in hooks:
            hook.remove()
    for readout, embedding in zip(readouts, seen, strict=True):
        weight, bias = readout.weight, readout.bias
        amounts = ((weight[1] - weight[0]) * embedding[0]).view(len(READOUT), -1).sum(dim=1)
        for name, amount in zip((*READOUT, "offset"), (*amounts, bias[1] - bias[0]), strict=True):
            totals[name] += float(amount) / len(members)
    return totals


def _alone(member: AttentionMaps) -> AttentionMaps:
    """Return the maps of one member without those of the other members."""
    return AttentionMaps(**{**vars(member), "others": []})


def _attended(maps: AttentionMaps, logits: torch.Tensor, seconds: np.ndarray) -> Attended:
    time, bands = ({name: curve.cpu().numpy() for name, curve in curves(maps).items()} for curves in (time_curves, band_curves))
    shares = [
        pd.DataFrame({name: block.sum(dim=3).mean(dim=(1, 2)).cpu().numpy() for name, block in member.blocks(stream).items()})
        for member in maps.members
        for stream in range(len(member.streams))
    ]
    return Attended(log_odds(logits), seconds, time, bands, sum(shares) / len(shares))


def _joined(parts: Sequence[Attended]) -> Attended:
    """Join the batches of one system."""
    time, bands = (
        {name: np.concatenate([getattr(part, kind)[name] for part in parts]) for name in getattr(parts[0], kind)}
        for kind in ("time", "bands")
    )
    scores = np.concatenate([part.scores for part in parts])
    return Attended(scores, parts[0].seconds, time, bands, pd.concat([part.blocks for part in parts], ignore_index=True))


def _node_speech(wave: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Return for each node whether at least half of it is speech."""
    spoken = speech(wave).astype(float)
    edges = np.round(seconds * 100).astype(int).clip(0, len(spoken))
    starts = np.minimum(edges[:-1], len(spoken) - 1)
    return np.add.reduceat(spoken[: max(edges[-1], 1)], starts) >= np.maximum(np.diff(edges), 1) / 2


def _difference_of_means(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
    return np.mean(first, axis=axis) - np.mean(second, axis=axis)


def _interval(samples: tuple[np.ndarray, ...], statistic: Callable, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % percentile bootstrap interval over the first axis, for each column separately."""
    found = bootstrap(
        samples, statistic, axis=0, vectorized=True, n_resamples=999, method="percentile", rng=np.random.default_rng(seed)
    )
    return found.confidence_interval.low, found.confidence_interval.high
