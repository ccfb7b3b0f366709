"""Maps over a clip's 20 ms frames: by attention, by gradients, by leaving parts out; and two that know nothing of the detector.

All that is not attention asks how the *score* depends on the frames that the back end hears: the mixed states of the front end,
`(frames, features)`. A frame is "left out" by putting the clip's mean frame in its place: it keeps what all frames share, voice
and channel, and says nothing of its moment. Zeros would be no neutral choice, but a sound that the detector never met.

A transformer encoder mixes the whole clip into every frame, so even a perfect account of the frames is one of the clip at
these places only as far as the encoder keeps things in place. Whether it does is measured: `aasist_lib.explain.faithfulness`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from captum.attr import IntegratedGradients, Occlusion, Saliency
from torch import Tensor

from aasist_lib.audio import RATE
from aasist_lib.explain.attention import CURVES, node_seconds, time_curves
from aasist_lib.models import AASIST

FRAME_SECONDS = 0.02
BASELINES = ("energy", "random")
SIGNED = frozenset({"integrated_gradients", "occlusion", "windows"})
"""Maps above 0 where the detector sees spoof and below 0 where it sees bona fide. The others say where it looks."""
MAPS: dict[str, str] = {
    **CURVES,
    "saliency": "how strongly the score reacts to a small change of the frame: the norm of its gradient",
    "integrated_gradients": "the frame's share of the score difference from a clip of mean frames, with reversed sign",
    "occlusion": "how much more bona fide the clip gets when 0.3 s around the frame are replaced by the mean frame",
    "windows": "minus the score of the 0.6 s segments around the frame, each scored alone",
    "energy": "the frame's level in dB, independent of the detector",
    "random": "random numbers",
}
"""Every map by name, and what it is."""
UNITS: dict[str, str] = {
    **dict.fromkeys(CURVES, "attention, fraction"),
    "saliency": "log-odds a unit",
    **dict.fromkeys(("integrated_gradients", "occlusion", "windows"), "log-odds of spoof"),
    "energy": "dB",
    "random": "uniform in [0, 1)",
}
STEPS = 16
"""Points of the integral of integrated gradients."""
OCCLUDED_SECONDS, WINDOW_SECONDS, HOP_SECONDS = 0.3, 0.6, 0.1
_BATCH, _AT_ONCE = 16, 64


def frame_maps(
    model: AASIST, waves: Tensor | np.ndarray, names: Sequence[str] | None = None, seed: int = 0
) -> dict[str, np.ndarray]:
    """Maps of clips, each `(batch, frames)` over frames of 20 ms (`samples // 320` of them).

    Args:
        model: a trained detector; it is put into eval mode.
        waves: `(batch, samples)` at 16 kHz, of the detector's length.
        names: of `MAPS`; None = all.
        seed: of the map 'random'.

    Returns:
        by name, higher = "here the detector sees spoof" for the maps in `SIGNED`, "here it looks" for the others.

    Raises:
        ValueError: an unknown name, or waves that are not `(batch, samples)` or shorter than a frame.
    """
    names = tuple(MAPS if names is None else names)
    if unknown := sorted(set(names) - set(MAPS)):
        raise ValueError(f"no map {', '.join(unknown)}; there are {', '.join(MAPS)}")
    waves = torch.as_tensor(waves, dtype=torch.float32)
    frames = grid_frames(waves.shape[-1])
    if waves.ndim != 2 or not waves.numel() or not frames:
        raise ValueError(f"waves have shape {tuple(waves.shape)}; (batch, samples) of 320 samples or more is needed")
    device = next(model.backend.parameters()).device
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for batch in waves.split(_BATCH):
        for name, values in _maps_of(model.eval(), batch.to(device), set(names) - {"random"}):
            parts[name].append(values)
    if "random" in names:
        parts["random"] = [np.random.default_rng(seed).random((len(waves), frames))]
    return {name: np.concatenate(parts[name]) for name in names}


def grid_frames(samples: int) -> int:
    """How many whole 20 ms frames a waveform has."""
    return samples // round(FRAME_SECONDS * RATE)


def hear(model: AASIST, waves: Tensor) -> tuple[Tensor, Tensor]:
    """The front end's states `(batch, layers, t, features)` of waves `(batch, samples)`, and what the members of the back end
    hear of them, `(batch, t, features)`; both free of the autograd graph."""
    with torch.no_grad():
        states = model.frontend(waves)
        return states, model.backend.mix(states)


def spoofness(model: AASIST, heard: Tensor) -> Tensor:
    """Minus the score, `(batch,)`, of frames as the members hear them, `(batch, t, features)`; of all members together."""
    logits = torch.stack([member(heard)[0] for member in model.backend.members]).mean(dim=0)
    return logits[:, 0] - logits[:, 1]


def mean_frames(heard: Tensor) -> Tensor:
    """Every frame of `(batch, t, features)` replaced by its clip's mean."""
    return heard.mean(dim=1, keepdim=True).expand_as(heard).contiguous()


def saliency(model: AASIST, heard: Tensor) -> Tensor:
    """Length of the score's gradient at each frame, `(batch, t)` (Simonyan et al. 2014, arXiv 1312.6034)."""
    return Saliency(_of(model)).attribute(_leaf(heard), abs=False).detach().norm(dim=-1)


def integrated_gradients(model: AASIST, heard: Tensor, steps: int = STEPS) -> Tensor:
    """Integrated gradients from the mean frame, summed over features, `(batch, t)` (Sundararajan et al. 2017, 1703.01365).

    A clip's values sum to `spoofness` of the clip minus that of its mean frames, but for the few steps
    and the jumps where graph pooling drops another node (in the demo 2 % of the distance).
    """
    method = IntegratedGradients(_of(model))
    found = method.attribute(_leaf(heard), mean_frames(heard), n_steps=steps, internal_batch_size=max(_AT_ONCE, len(heard)))
    return found.detach().sum(dim=-1)


def occlusion(model: AASIST, heard: Tensor, width: int, hop: int) -> Tensor:
    """Change of the score when `width` frames are left out, every `hop` frames; the mean over those that cover a frame.

    `(batch, t)`; above 0 where leaving out makes the clip more bona fide (Zeiler and Fergus 2014, arXiv 1311.2901).
    """
    width, features = min(width, heard.shape[1]), heard.shape[2]
    with torch.no_grad():
        found = Occlusion(_of(model)).attribute(
            heard, (width, features), (min(hop, width), features), mean_frames(heard),
            perturbations_per_eval=max(_AT_ONCE // len(heard), 1),
        )  # fmt: skip
    return found[..., 0]


def windows(model: AASIST, states: Tensor, width: int, hop: int) -> Tensor:
    """`spoofness` of stretches of `width` frames, every `hop` frames; the mean over those that cover a frame, `(batch, t)`.

    The back end hears each stretch alone, normalised by itself; the encoder heard the whole clip.
    """
    total = states.shape[2]
    width = min(width, total)
    firsts = sorted({*range(0, total - width, hop), total - width})
    summed, covered = states.new_zeros(len(states), total), states.new_zeros(total)
    several = max(_AT_ONCE // len(states), 1)
    for some in (firsts[start : start + several] for start in range(0, len(firsts), several)):
        stretches = torch.cat([states[:, :, first : first + width] for first in some])
        with torch.no_grad():
            found = spoofness(model, model.backend.mix(stretches)).view(len(some), len(states), 1)
        for first, value in zip(some, found, strict=True):
            summed[:, first : first + width] += value
            covered[first : first + width] += 1
    return summed / covered


def energy(waves: np.ndarray) -> np.ndarray:
    """Level of each whole 20 ms frame in dB, `(batch, frames)`, of waves `(batch, samples)`."""
    frames, size = grid_frames(waves.shape[1]), round(FRAME_SECONDS * RATE)
    power = np.square(waves[:, : frames * size]).reshape(len(waves), frames, size).mean(axis=2)
    return 10 * np.log10(power + 1e-10)


def to_grid(values: np.ndarray, edges: np.ndarray, frames: int) -> np.ndarray:
    """Means over 20 ms frames, `(batch, frames)`, of values that are constant between edges.

    Args:
        values: `(batch, n)`.
        edges: in seconds from 0 on, `(n + 1,)`; behind the last one the last value goes on.
        frames: how many 20 ms frames are wanted.
    """
    grid = np.arange(frames + 1) * FRAME_SECONDS
    edges = np.append(edges[:-1], max(edges[-1], grid[-1]))
    areas = np.pad(np.cumsum(values * np.diff(edges), axis=1, dtype=np.float64), ((0, 0), (1, 0)))
    return np.diff([np.interp(grid, edges, area) for area in areas], axis=1) / FRAME_SECONDS


def _maps_of(model: AASIST, waves: Tensor, names: set[str]) -> Iterator[tuple[str, np.ndarray]]:
    """The maps of one batch on the grid."""
    samples = waves.shape[1]
    frames = grid_frames(samples)
    if "energy" in names:
        yield "energy", energy(waves.cpu().numpy())
    if not names - {"energy"}:
        return
    states, heard = hear(model, waves)
    if wanted := names & set(CURVES):
        with torch.no_grad():
            maps = model.backend(states, return_attention=True)[1]
        edges = node_seconds(model, samples, maps.temporal.shape[-1])
        curves = time_curves(maps)
        yield from ((name, to_grid(curves[name].cpu().numpy(), edges, frames)) for name in wanted)
    edges = np.minimum(np.arange(heard.shape[1] + 1) * model.frontend.stride, samples) / RATE
    for name, method in _methods(model, states, heard).items():
        if name in names:
            yield name, to_grid(method().cpu().numpy(), edges, frames)


def _methods(model: AASIST, states: Tensor, heard: Tensor) -> dict[str, Callable[[], Tensor]]:
    occluded, window, hop = (
        max(round(seconds * RATE / model.frontend.stride), 1) for seconds in (OCCLUDED_SECONDS, WINDOW_SECONDS, HOP_SECONDS)
    )
    return {
        "saliency": lambda: saliency(model, heard),
        "integrated_gradients": lambda: integrated_gradients(model, heard),
        "occlusion": lambda: occlusion(model, heard, occluded, hop),
        "windows": lambda: windows(model, states, window, hop),
    }


def _of(model: AASIST) -> Callable[[Tensor], Tensor]:
    return lambda heard: spoofness(model, heard)


def _leaf(heard: Tensor) -> Tensor:
    return heard.detach().clone().requires_grad_()
