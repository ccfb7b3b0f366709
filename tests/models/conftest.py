"""Small random encoders of every kind."""

from __future__ import annotations

import pytest
import torch
import transformers
from transformers import (
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)


def save_encoder(kind, folder, **settings):
    """A small random encoder of wav2vec 2.0's family, its norms behind the layers (as in the base models) unless told."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64, conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, **settings,
    )  # fmt: skip
    model = getattr(transformers, f"{kind}Model")(config).eval()
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    torch.manual_seed(1)
    config = WhisperConfig(
        vocab_size=64, d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=48, decoder_ffn_dim=48, max_source_positions=1500, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("whisper")
    WhisperModel(config).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(params=["Wav2Vec2", "Wav2Vec2, norms before", "Hubert", "WavLM", "whisper"])
def any_encoder(request, tmp_path):
    """The folder of a small random encoder of each kind, and how many layers it has."""
    if request.param == "whisper":
        return request.getfixturevalue("whisper"), 2
    kind, *before = request.param.split(",")
    save_encoder(kind, tmp_path, do_stable_layer_norm=bool(before), feat_extract_norm="layer" if before else "group")
    return tmp_path, 3
