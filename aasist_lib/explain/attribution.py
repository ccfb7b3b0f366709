"""Maps over the 20 ms frames of a clip, from attention, gradients or occlusion, and two baselines without the detector.

All maps except attention and the baselines measure how the *score* depends on the frames that the back end receives: the
mixed states of the front end, `(frames, features)`. A frame is "left out" by replacing it with the clip's mean frame. The
mean frame keeps what all frames share, such as voice and channel, and removes what is specific to this moment. Zeros would
not be neutral, because the detector never saw such an input in training.

A transformer encoder mixes the whole clip into every frame. A map over frames therefore locates something in the clip only
as far as the encoder keeps information in place. `aasist_lib.explain.faithfulness` measures whether it does.
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
SIGNED = frozenset({"integrated_gradients", "occlusion", "segments"})
"""Maps that are above 0 where a frame speaks for spoof and below 0 for bona fide. The others only show what has influence."""
MAPS: dict[str, str] = {
    **CURVES,
    "saliency": "how strongly the score reacts to a small change of the frame: the norm of its gradient",
    "integrated_gradients": "the frame's share of the score difference from a clip of mean frames, with reversed sign",
    "occlusion": "how much more bona fide the clip gets when 0.3 s around the frame are replaced by the mean frame",
    "segments": "minus the score of the 0.6 s segments around the frame, each scored alone",
    "energy": "the frame's level in dB, independent of the detector",
    "random": "random numbers",
}
"""Every map by name, with a description."""
UNITS: dict[str, str] = {
    **dict.fromkeys(CURVES, "attention, fraction"),
    "saliency": "log-odds a unit",
    **dict.fromkeys(("integrated_gradients", "occlusion", "segments"), "log-odds of spoof"),
    "energy": "dB",
    "random": "uniform in [0, 1)",
}
STEPS = 16
"""Number of points at which the integral of integrated gradients is evaluated."""
OCCLUDED_SECONDS, WINDOW_SECONDS, HOP_SECONDS = 0.3, 0.6, 0.1
_BATCH, _AT_ONCE = 16, 64


def frame_maps(
    model: AASIST, waves: Tensor | np.ndarray, names: Sequence[str] | None = None, seed: int = 0
) -> dict[str, np.ndarray]:
    """Compute maps of clips, each `(batch, frames)` over 20 ms frames (`samples // 320` of them).

    Args:
        model: a trained detector; it is put into eval mode.
        waves: `(batch, samples)` at 16 kHz, with the detector's input length.
        names: names from `MAPS`; None = all.
        seed: seed of the map 'random'.

    Returns:
        map name -> values. Higher means "more spoof" for the maps in `SIGNED`, and "more influence" for the others.

    Raises:
        ValueError: a name is unknown, or `waves` is not `(batch, samples)` or is shorter than a frame.
    """
    names = tuple(MAPS if names is None else names)
    if unknown := sorted(set(names) - set(MAPS)):
        raise ValueError(f"unknown map {', '.join(unknown)}; choose from {', '.join(MAPS)}")
    waves = torch.as_tensor(waves, dtype=torch.float32)
    frames = grid_frames(waves.shape[-1])
    if waves.ndim != 2 or not waves.numel() or not frames:
        raise ValueError(f"waves have shape {tuple(waves.shape)}; pass (batch, samples) with at least 320 samples")
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for batch in waves.split(_BATCH):
        for name, values in _maps_of(model.eval(), batch.to(model.device), set(names) - {"random"}):
            parts[name].append(values)
    if "random" in names:
        parts["random"] = [np.random.default_rng(seed).random((len(waves), frames))]
    return {name: np.concatenate(parts[name]) for name in names}


def grid_frames(samples: int) -> int:
    """Return the number of whole 20 ms frames in a waveform."""
    return samples // round(FRAME_SECONDS * RATE)


def hear(model: AASIST, waves: Tensor) -> tuple[Tensor, Tensor]:
    """Run the front end on waves `(batch, samples)`, without gradients.

    Returns:
        its states `(batch, layers, t, features)`, and their layer mix `(batch, t, features)`, which the back end's members
        take as input.
    """
    with torch.no_grad():
        states = model.frontend(waves)
        return states, model.backend.mix(states)


def spoofness(model: AASIST, heard: Tensor) -> Tensor:
    """Return minus the score of all members together, `(batch,)`, for their input frames `(batch, t, features)`."""
    logits = torch.stack([member(heard)[0] for member in model.backend.members]).mean(dim=0)
    return logits[:, 0] - logits[:, 1]


def mean_frames(heard: Tensor) -> Tensor:
    """Replace every frame of `(batch, t, features)` by the mean frame of its clip."""
    return heard.mean(dim=1, keepdim=True).expand_as(heard).contiguous()


def saliency(model: AASIST, heard: Tensor) -> Tensor:
    """Return the norm of the score's gradient at each frame, `(batch, t)` (Simonyan et al. 2014, arXiv 1312.6034)."""
    return Saliency(_of(model)).attribute(_leaf(heard), abs=False).detach().norm(dim=-1)


def integrated_gradients(model: AASIST, heard: Tensor, steps: int = STEPS) -> Tensor:
    """Integrated gradients from the mean frame, summed over features, `(batch, t)` (Sundararajan et al. 2017, 1703.01365).

    A clip's values sum to the `spoofness` of the clip minus that of its mean frames. The sum is not exact, because the integral
    has few steps and jumps where graph pooling drops another node (in the demo the error is 2 % of the difference).
    """
    method = IntegratedGradients(_of(model))
    found = method.attribute(_leaf(heard), mean_frames(heard), n_steps=steps, internal_batch_size=max(_AT_ONCE, len(heard)))
    return found.detach().sum(dim=-1)


def occlusion(model: AASIST, heard: Tensor, width: int, hop: int) -> Tensor:
    """Return the change of the score when `width` frames are left out, `(batch, t)` (Zeiler and Fergus 2014, arXiv 1311.2901).

    A segment starts every `hop` frames. Each frame gets the mean over the segments that cover it. Values are above 0 where
    leaving frames out makes the clip more bona fide.
    """
    width, features = min(width, heard.shape[1]), heard.shape[2]
    with torch.no_grad():
        found = Occlusion(_of(model)).attribute(
            heard, (width, features), (min(hop, width), features), mean_frames(heard),
            perturbations_per_eval=max(_AT_ONCE // len(heard), 1),
        )  # fmt: skip
    return found[..., 0]


def segments(model: AASIST, states: Tensor, width: int, hop: int) -> Tensor:
    """Return the `spoofness` of segments of `width` frames, one every `hop` frames, `(batch, t)`.

    Each frame gets the mean over the segments that cover it. The back end receives each segment alone and normalises it
    separately. The encoder has processed the whole clip.
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
    """Return the level of each whole 20 ms frame of waves `(batch, samples)` in dB, `(batch, frames)`."""
    frames, size = grid_frames(waves.shape[1]), round(FRAME_SECONDS * RATE)
    power = np.square(waves[:, : frames * size]).reshape(len(waves), frames, size).mean(axis=2)
    return 10 * np.log10(power + 1e-10)


def to_grid(values: np.ndarray, edges: np.ndarray, frames: int) -> np.ndarray:
    """Average values that are constant between edges over 20 ms frames, `(batch, frames)`.

    Args:
        values: `(batch, n)`.
        edges: in seconds, starting at 0, `(n + 1,)`; the last value is extended beyond the last edge.
        frames: number of 20 ms frames to return.
    """
    grid = np.arange(frames + 1) * FRAME_SECONDS
    edges = np.append(edges[:-1], max(edges[-1], grid[-1]))
    areas = np.pad(np.cumsum(values * np.diff(edges), axis=1, dtype=np.float64), ((0, 0), (1, 0)))
    return np.diff([np.interp(grid, edges, area) for area in areas], axis=1) / FRAME_SECONDS


def _maps_of(model: AASIST, waves: Tensor, names: set[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the maps of one batch over 20 ms frames."""
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
        "segments": lambda: segments(model, states, window, hop),
    }


def _of(model: AASIST) -> Callable[[Tensor], Tensor]:
    return lambda heard: spoofness(model, heard)


def _leaf(heard: Tensor) -> Tensor:
    return heard.detach().clone().requires_grad_()
