"""Front ends: a self-supervised (or ASR) speech encoder, frozen (paper, idea 1) or fine-tuned, or hand-made features."""

from __future__ import annotations

from aasist_lib.config import ConfigError, FrontendConfig
from aasist_lib.models.base import EncoderUnavailable as EncoderUnavailable
from aasist_lib.models.base import Frontend
from aasist_lib.models.lfcc import LFCC
from aasist_lib.models.sinc import SincFilters


def build_frontend(config: FrontendConfig) -> Frontend:
    """The front end that a profile's `model.frontend` section describes: `waveform (batch, samples)` at 16 kHz -> states
    `(batch, layers, frames, features)`.

    Each has `name`, `stride` (samples from one frame to the next), `layers` (their numbers), `features` (their count) and
    `identity()`, which feature banks and checkpoints store.

    Raises:
        EncoderUnavailable: the encoder is neither cached nor reachable.
        ConfigError: it does not fit the section, or the section asks to train what has no parameters.
    """
    if config.kind == "encoder":
        from aasist_lib.models.encoder import SpeechEncoder  # transformers takes seconds to import

        return SpeechEncoder(config)
    if config.finetune:
        raise ConfigError(
            f"model.frontend.finetune = {config.finetune}: kind '{config.kind}' has no weights; remove it, or set kind: encoder"
        )
    return SincFilters() if config.kind == "sinc" else LFCC()
