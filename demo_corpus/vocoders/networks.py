"""Three small neural vocoders that copy speech, each `(batch, samples)` at 16 kHz -> the same shape.

- `istft`: ConvNeXt blocks over log-mel frames, then magnitude and phase for an inverse STFT (Vocos, arXiv 2306.00814).
- `upsampling`: transposed convolutions from log-mel frames to samples (HiFi-GAN, arXiv 2010.05646).
- `codec`: as `istft`, but the frames are coded first, by residual vector quantisation at 3 kbit/s (SoundStream, arXiv
  2107.03312; quantisers with few normalised dimensions as in the Descript Audio Codec, arXiv 2306.06546).

Only torch is needed here, so that they can be trained on a machine without the rest of the project.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

RATE = 16_000
MELS = 80
CHANNELS = 160


class LogMel(nn.Module):
    """Log of the mel magnitudes: `(batch, samples)` -> `(batch, mels, samples // hop + 1)`."""

    shape: Tensor
    filters: Tensor

    def __init__(self, window: int, hop: int, mels: int = MELS) -> None:
        super().__init__()
        self.window, self.hop = window, hop
        self.register_buffer("shape", torch.hann_window(window), persistent=False)
        self.register_buffer("filters", mel_filters(window, mels), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        spectrum = torch.stft(wave, self.window, self.hop, window=self.shape, return_complex=True)
        # Not abs(): its gradient is undefined at digital silence.
        magnitude = (spectrum.real**2 + spectrum.imag**2 + 1e-10).sqrt()
        return (self.filters @ magnitude).clamp(min=1e-5).log()


def mel_filters(window: int, mels: int) -> Tensor:
    """Return triangular filters, evenly spaced in mel from 0 to 8 kHz, `(mels, window // 2 + 1)`."""
    top = 2595 * torch.log10(torch.tensor(1 + RATE / 2 / 700))
    edges = 700 * (10 ** (torch.linspace(0, float(top), mels + 2) / 2595) - 1)
    bins = torch.linspace(0, RATE / 2, window // 2 + 1)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp(min=0)


class Vocoder(nn.Module, ABC):
    """A network that makes whole frames of `hop` samples; the ends are padded and cut."""

    hop: int

    def forward(self, wave: Tensor) -> Tensor:
        """Copy `(batch, samples)`; any length of at least 1024 samples."""
        samples = wave.shape[1]
        padded = functional.pad(wave, (0, -samples % self.hop))
        return self.copy(padded)[:, :samples]

    @abstractmethod
    def copy(self, wave: Tensor) -> Tensor:
        """Copy `(batch, samples)`, a multiple of `hop` samples."""


class Backbone(nn.Module):
    """A convolution over `inputs` and ConvNeXt blocks, `(batch, inputs, frames)` -> `(batch, frames, channels)`."""

    def __init__(self, inputs: int = MELS, channels: int = CHANNELS, blocks: int = 6) -> None:
        super().__init__()
        self.first = nn.Conv1d(inputs, channels, 7, padding=3)
        self.blocks = nn.ModuleList(ConvNeXt(channels, 1 / blocks) for _ in range(blocks))
        self.norm = nn.LayerNorm(channels)

    def forward(self, frames: Tensor) -> Tensor:
        frames = self.first(frames)
        for block in self.blocks:
            frames = block(frames)
        return self.norm(frames.mT)


class ConvNeXt(nn.Module):
    """Depthwise convolution, layer norm and two dense layers with a scaled residual, `(batch, channels, frames)`."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.mix = nn.Conv1d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.dense = nn.Sequential(nn.Linear(channels, 3 * channels), nn.GELU(), nn.Linear(3 * channels, channels))
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, frames: Tensor) -> Tensor:
        return frames + (self.scale * self.dense(self.norm(self.mix(frames).mT))).mT


class InverseSTFT(Vocoder):
    """Magnitude and phase of 512 samples every 128 from each frame, then an inverse STFT."""

    window, hop = 512, 128
    shape: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mel, self.backbone = LogMel(1024, self.hop), Backbone()
        self.last = nn.Linear(CHANNELS, self.window + 2)
        self.register_buffer("shape", torch.hann_window(self.window), persistent=False)

    def copy(self, wave: Tensor) -> Tensor:
        return self.sound(self.mel(wave), wave.shape[1])

    def sound(self, mel: Tensor, samples: int) -> Tensor:
        """Return `(batch, samples)` from `(batch, mels, samples // 128 + 1)`."""
        log_magnitude, phase = self.last(self.backbone(mel)).mT.chunk(2, dim=1)
        magnitude = log_magnitude.clamp(max=5).exp()
        spectrum = torch.complex(magnitude * phase.cos(), magnitude * phase.sin())
        return torch.istft(spectrum, self.window, self.hop, window=self.shape, length=samples)


class Upsampling(Vocoder):
    """Frames every 256 samples, upsampled by 8, 8, 2 and 2, with residual blocks of two kernel sizes after each step."""

    hop = 256

    def __init__(self, channels: int = 192, factors: tuple[int, ...] = (8, 8, 2, 2)) -> None:
        super().__init__()
        self.mel = LogMel(1024, self.hop)
        widths = [channels // 2**stage for stage in range(len(factors) + 1)]
        self.first = nn.Conv1d(MELS, channels, 7, padding=3)
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(wide, narrow, 2 * by, by, padding=by // 2)
            for (wide, narrow), by in zip(pairwise(widths), factors, strict=True)
        )
        self.mixes = nn.ModuleList(Mean(Dilated(width, kernel) for kernel in (3, 7)) for width in widths[1:])
        self.last = nn.Conv1d(widths[-1], 1, 7, padding=3)

    def copy(self, wave: Tensor) -> Tensor:
        frames = self.first(self.mel(wave)[:, :, :-1])
        for up, mix in zip(self.ups, self.mixes, strict=True):
            frames = mix(up(functional.leaky_relu(frames, 0.1)))
        return torch.tanh(self.last(functional.leaky_relu(frames, 0.1))).squeeze(1)


class Mean(nn.ModuleList):
    """The mean of several networks' outputs for the same input."""

    def forward(self, frames: Tensor) -> Tensor:
        return torch.stack([part(frames) for part in self]).mean(0)


class Dilated(nn.Module):
    """Two residual convolutions with dilations 1 and 3, `(batch, channels, frames)`."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=dilation * (kernel - 1) // 2)
            for dilation in (1, 3)
        )

    def forward(self, frames: Tensor) -> Tensor:
        for layer in self.layers:
            frames = frames + layer(functional.leaky_relu(frames, 0.1))
        return frames


class Codec(InverseSTFT):
    """An autoencoder: log-mel frames at 62.5 a second through six codebooks of 256 entries, 3 kbit/s, then as `istft`."""

    hop = 256

    def __init__(self, size: int = 96) -> None:
        super().__init__()
        self.mel = LogMel(1024, InverseSTFT.hop)
        self.down = nn.Conv1d(MELS, size, 4, 2, padding=1)
        self.encoder = nn.Sequential(*(ConvNeXt(size, 0.5) for _ in range(2)))
        self.quantiser = ResidualQuantiser(size)
        self.decoder = nn.Sequential(*(ConvNeXt(size, 0.5) for _ in range(2)))
        self.up = nn.ConvTranspose1d(size, MELS, 4, 2, padding=1)

    def copy(self, wave: Tensor) -> Tensor:
        mel = functional.pad(self.mel(wave), (0, 1))
        coded = self.quantiser(self.encoder(self.down(mel)))
        return self.sound(self.up(self.decoder(coded))[:, :, :-1], wave.shape[1])


class ResidualQuantiser(nn.Module):
    """Codebooks applied one after the other to what is left, `(batch, channels, frames)`. `loss` is that of the last call."""

    def __init__(self, channels: int, books: int = 6, entries: int = 256, size: int = 8) -> None:
        super().__init__()
        self.into = nn.ModuleList(nn.Conv1d(channels, size, 1) for _ in range(books))
        self.out = nn.ModuleList(nn.Conv1d(size, channels, 1) for _ in range(books))
        self.books = nn.ParameterList(torch.randn(entries, size) for _ in range(books))
        self.loss: Tensor | None = None

    def forward(self, frames: Tensor) -> Tensor:
        left, total, loss = frames, torch.zeros_like(frames), frames.new_zeros(())
        for into, out, book in zip(self.into, self.out, self.books, strict=True):
            code = into(left).mT
            nearest = (functional.normalize(code, dim=-1) @ functional.normalize(book, dim=-1).T).argmax(-1)
            chosen = functional.embedding(nearest, book)
            loss = loss + functional.mse_loss(chosen, code.detach()) + 0.25 * functional.mse_loss(code, chosen.detach())
            # Straight-through: the gradient of the chosen entry goes to the code.
            coded = out((code + (chosen - code).detach()).mT)
            left, total = left - coded, total + coded
        self.loss = loss
        return total


NETWORKS: dict[str, type[Vocoder]] = {"istft": InverseSTFT, "upsampling": Upsampling, "codec": Codec}
