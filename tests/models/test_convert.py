import struct

import numpy as np
import pytest

from aasist_lib.config import project_root
from aasist_lib.models.convert import ConversionError, read_ctranslate2

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
    with pytest.raises(ConversionError, match="cannot be read at byte"):
        read_ctranslate2(good[:-5])


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the demo's encoder is not there yet: python -m aasist_lib prepare demo")
def test_the_demo_encoder_is_whisper_tiny_en():
    """Published facts of the model: 8.2 M encoder parameters, 384 features, 20 ms frames."""
    import torch

    from aasist_lib.config import FrontendConfig
    from aasist_lib.models.frontend import FrozenEncoder

    encoder = FrozenEncoder(FrontendConfig(name=str(FOLDER), layer="weighted"))
    assert sum(p.numel() for p in encoder.encoder.parameters()) == 8_208_384
    assert encoder(torch.zeros(1, 64_600)).shape == (1, 5, 202, 384)
