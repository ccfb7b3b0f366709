"""Losses, discriminators and the training loop of the vocoders.

The generator's loss is a log-mel distance at four resolutions, the adversarial (least squares) loss and feature matching of
HiFi-GAN (arXiv 2010.05646). The discriminators look at the wave folded by five periods, and at complex spectrograms. In the
first part of the training there is only the distance.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from demo_corpus.vocoders.networks import RATE, Codec, LogMel, Vocoder

SEGMENT = 16_384
BETAS = (0.8, 0.99)
AVERAGE = 0.999
MEL_WEIGHT, MATCHING_WEIGHT, QUANTISER_WEIGHT = 15.0, 2.0, 1.0


@dataclass(frozen=True)
class Schedule:
    """The training ends after `steps` or `minutes`, whichever is first; the learning rate falls to 2 % by then (cosine).

    For the share `warm_up` there are no discriminators. `windows` are those of the spectrograms that have one.
    """

    steps: int
    minutes: float
    batch: int = 32
    rate: float = 5e-4
    warm_up: float = 0.1
    windows: tuple[int, ...] = (256, 512, 1024)


class Distance(nn.Module):
    """Mean absolute difference of log-mel magnitudes at four resolutions."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((256, 20), (512, 40), (1024, 80), (2048, 120))
        self.mels = nn.ModuleList(LogMel(window, window // 4, mels) for window, mels in sizes)

    def forward(self, copied: Tensor, wave: Tensor) -> Tensor:
        return torch.stack([functional.l1_loss(mel(copied), mel(wave)) for mel in self.mels]).mean()


class _Layers(nn.ModuleList):
    """Convolutions with leaky ReLUs between them; returns every output, the decision last."""

    def forward(self, inputs: Tensor) -> list[Tensor]:
        outputs = [self[0](inputs)]
        for layer in list(self)[1:]:
            outputs.append(layer(functional.leaky_relu(outputs[-1], 0.1)))
        return outputs


class Discriminators(nn.Module):
    """All discriminators: `(batch, samples)` -> for each one its layers' outputs, the decision last."""

    def __init__(self, periods: tuple[int, ...] = (2, 3, 5, 7, 11), windows: tuple[int, ...] = (256, 512, 1024)) -> None:
        super().__init__()
        self.periods, self.windows = periods, windows
        self.of_periods = nn.ModuleList(_layers((1, 16, 48, 96, 128), (5, 1), (3, 1)) for _ in periods)
        self.of_windows = nn.ModuleList(_layers((2, 24, 24, 32, 32), (9, 3), (2, 1)) for _ in windows)

    def forward(self, wave: Tensor) -> list[list[Tensor]]:
        folded = [
            functional.pad(wave, (0, -wave.shape[1] % period), "reflect").unflatten(1, (-1, period))[:, None]
            for period in self.periods
        ]
        spectra = [_spectrum(wave, window) for window in self.windows]
        pairs = [*zip(self.of_periods, folded, strict=True), *zip(self.of_windows, spectra, strict=True)]
        return [layers(inputs) for layers, inputs in pairs]


def train(
    vocoder: Vocoder, batches: Iterator[Tensor], schedule: Schedule, keep: Callable[[Vocoder, dict[str, float]], None]
) -> None:
    """Train a vocoder.

    Args:
        vocoder: on its device; its weights are changed.
        batches: bona fide speech, `(schedule.batch, SEGMENT)`, on the same device.
        schedule: length, batch size and learning rate.
        keep: called about once a minute and at the end with the averaged vocoder and the losses.
    """
    device = next(vocoder.parameters()).device
    distance, judges = Distance().to(device), Discriminators(windows=schedule.windows).to(device)
    averaged = copy.deepcopy(vocoder).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(vocoder.parameters(), schedule.rate, BETAS)
    against = torch.optim.AdamW(judges.parameters(), schedule.rate, BETAS)
    began, kept, step, done = time.monotonic(), 0.0, 0, 0.0
    while done < 1:
        wave = next(batches)
        _set_rate((optimiser, against), schedule.rate * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2))
        copied = vocoder(wave)
        losses = {"mel": distance(copied, wave)}
        total = MEL_WEIGHT * losses["mel"]
        if isinstance(vocoder, Codec):
            losses["quantiser"] = vocoder.quantiser.loss
            total = total + QUANTISER_WEIGHT * losses["quantiser"]
        if done > schedule.warm_up:
            losses["judges"] = _judge(judges, wave, copied, against)
            losses["adversarial"], losses["matching"] = _fool(judges, wave, copied)
            total = total + losses["adversarial"] + MATCHING_WEIGHT * losses["matching"]
        optimiser.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(vocoder.parameters(), 100.0)
        optimiser.step()
        step += 1
        _follow(averaged, vocoder, min(AVERAGE, step / (step + 10)))
        gone = (time.monotonic() - began) / 60
        done = max(step / schedule.steps, gone / schedule.minutes)
        if gone - kept > 1 or done >= 1:
            kept = gone
            keep(
                averaged,
                {"step": step, "minutes": round(gone, 2)}
                | {name: round(float(loss.detach()), 4) for name, loss in losses.items()},
            )


def random_segments(clips: dict[str, list[Tensor]], batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield `(batch, SEGMENT)` without end: speakers evenly, at -32 to -16 dBFS, half of them cut above 3.4 to 8 kHz."""
    speakers = sorted(clips)
    while True:
        chosen = []
        for _ in range(batch):
            own = clips[speakers[int(torch.randint(len(speakers), (), generator=generator))]]
            chosen.append(_segment(own[int(torch.randint(len(own), (), generator=generator))], generator))
        draws = torch.rand(3, batch, generator=generator).to(chosen[0].device)
        yield _level(_cut(torch.stack(chosen), 3400 + 4600 * (2 * draws[0]).clamp(max=1)), -32 + 16 * draws[1])


def _segment(clip: Tensor, generator: torch.Generator) -> Tensor:
    spare = len(clip) - SEGMENT
    if spare < 0:
        clip, spare = functional.pad(clip, (0, -spare)), 0
    start = int(torch.randint(spare + 1, (), generator=generator))
    return clip[start : start + SEGMENT]


def _cut(waves: Tensor, hertz: Tensor) -> Tensor:
    """Remove what is above `hertz` `(batch,)`, with a transition of 400 Hz."""
    bins = torch.linspace(0, RATE / 2, waves.shape[1] // 2 + 1, device=waves.device)
    gain = ((hertz[:, None] - bins) / 400 + 0.5).clamp(0, 1)
    gain[hertz >= RATE / 2] = 1
    return torch.fft.irfft(torch.fft.rfft(waves) * gain, waves.shape[1])


def _level(waves: Tensor, decibels: Tensor) -> Tensor:
    rms = waves.square().mean(1, keepdim=True).sqrt().clamp(min=1e-4)
    scaled = waves / rms * 10 ** (decibels[:, None] / 20)
    return scaled / scaled.abs().amax(1, keepdim=True).clamp(min=0.98) * 0.98


def _judge(judges: Discriminators, wave: Tensor, copied: Tensor, optimiser: torch.optim.Optimizer) -> Tensor:
    """Take a step of the discriminators: 1 for speech, 0 for copies. Return their loss."""
    both = judges(torch.cat([wave, copied.detach()]))
    halves = [layers[-1].chunk(2) for layers in both]
    loss = torch.stack([(real - 1).square().mean() + copy.square().mean() for real, copy in halves]).mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.detach()


def _fool(judges: Discriminators, wave: Tensor, copied: Tensor) -> tuple[Tensor, Tensor]:
    """Return the adversarial loss and the distance of the discriminators' layers between copies and speech."""
    with torch.no_grad():
        real = judges(wave)
    made = judges(copied)
    adversarial = torch.stack([(layers[-1] - 1).square().mean() for layers in made]).mean()
    distances = [
        functional.l1_loss(a, b) / b.abs().mean() for x, y in zip(made, real, strict=True) for a, b in zip(x, y, strict=True)
    ]
    return adversarial, torch.stack(distances).mean()


def _layers(widths: tuple[int, ...], kernel: tuple[int, int], stride: tuple[int, int]) -> _Layers:
    padding = (kernel[0] // 2, kernel[1] // 2)
    steps = [nn.Conv2d(a, b, kernel, stride, padding) for a, b in pairwise(widths)]
    return _Layers(map(weight_norm, [*steps, nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0))]))


def _spectrum(wave: Tensor, window: int) -> Tensor:
    shape = torch.hann_window(window, device=wave.device)
    spectrum = torch.stft(wave, window, window // 4, window=shape, return_complex=True)
    return torch.view_as_real(spectrum).permute(0, 3, 1, 2)


def _set_rate(optimisers: tuple[torch.optim.Optimizer, ...], rate: float) -> None:
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate


@torch.no_grad()
def _follow(averaged: Vocoder, vocoder: Vocoder, share: float) -> None:
    for mean, now in zip(averaged.parameters(), vocoder.parameters(), strict=True):
        mean.lerp_(now, 1 - share)
