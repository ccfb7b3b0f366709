"""ORT-format graphs for tests: a small one written from scratch, and a quantised one with its 8-bit activations taken away."""

from __future__ import annotations

import struct

import flatbuffers
import numpy as np
from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs import Graph, InferenceSession, Model, Node, Tensor

from aasist_lib.models.moonshine import OrtGraph, read_ort

_ONNX_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int64": 7, "float16": 10}
_DOMAINS = {"": 18, "com.microsoft": 1}


def write_ort(arrays: dict[str, np.ndarray], nodes: dict[str, list[str]]) -> bytes:
    """A model in ORT format with these arrays and, by node name, these inputs."""
    builder = flatbuffers.Builder()

    def offsets(values: list[int]) -> int:
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            builder.PrependUOffsetTRelative(value)
        return builder.EndVector()

    def tensor(name: str, array: np.ndarray) -> int:
        shape = np.array(array.shape, np.int64)
        label, dims = builder.CreateString(name), builder.CreateNumpyVector(shape) if array.ndim else None
        data = builder.CreateNumpyVector(np.frombuffer(array.tobytes(), np.uint8))
        Tensor.Start(builder)
        Tensor.AddName(builder, label)
        if dims is not None:
            Tensor.AddDims(builder, dims)
        Tensor.AddDataType(builder, _ONNX_TYPES[array.dtype.name])
        Tensor.AddRawData(builder, data)
        return Tensor.End(builder)

    def node(name: str, inputs: list[str]) -> int:
        label, names = builder.CreateString(name), offsets([builder.CreateString(text) for text in inputs])
        Node.Start(builder)
        Node.AddName(builder, label)
        Node.AddInputs(builder, names)
        return Node.End(builder)

    tensors = offsets([tensor(*item) for item in arrays.items()])
    calls = offsets([node(*item) for item in nodes.items()])
    Graph.Start(builder)
    Graph.AddInitializers(builder, tensors)
    Graph.AddNodes(builder, calls)
    graph = Graph.End(builder)
    Model.Start(builder)
    Model.AddGraph(builder, graph)
    model = Model.End(builder)
    InferenceSession.Start(builder)
    InferenceSession.AddModel(builder, model)
    builder.Finish(InferenceSession.End(builder), file_identifier=b"ORTM")
    return bytes(builder.Output())


def float_onnx(blob: bytes, outputs: list[str]) -> bytes:
    """The ORT-format graph as an ONNX model in which matrices are multiplied in float32, with these outputs.

    The protobuf messages are written by hand (numbers are ONNX's field numbers): the `onnx` package would serve this test only.
    """
    graph = InferenceSession.InferenceSession.GetRootAs(blob, 0).Model().Graph()
    held = read_ort(blob)
    arrays, nodes = dict(held.arrays), []
    for number in range(graph.NodesLength()):
        nodes += _float_nodes(graph.Nodes(number), held, arrays)
    body = b"".join(_field(1, node) for node in nodes) + _field(2, b"float")
    body += b"".join(_field(5, _tensor(array) + _field(8, name.encode())) for name, array in arrays.items())
    body += _field(11, _value("input_values", 1)) + _field(11, _value("attention_mask", 7))
    body += b"".join(_field(12, _value(name, 1)) for name in outputs)
    opsets = b"".join(_field(8, _field(1, name.encode()) + _field(2, version)) for name, version in _DOMAINS.items())
    return _field(1, 8) + opsets + _field(7, body)


def _float_nodes(node: Node.Node, held: OrtGraph, arrays: dict[str, np.ndarray]) -> list[bytes]:
    name, kind, domain = node.Name().decode(), node.OpType().decode(), (node.Domain() or b"").decode()
    inputs, output = held.inputs[name], node.Outputs(0).decode()
    if kind == "DynamicQuantizeLinear":
        return []
    if kind not in ("MatMulIntegerToFloat", "DynamicQuantizeMatMul"):
        outputs = [node.Outputs(number).decode() for number in range(node.OutputsLength())]
        attributes = [_attribute(node.Attributes(number)) for number in range(node.AttributesLength())]
        return [_node(kind, inputs, outputs, domain, attributes)]
    matrix, bias = inputs[1].removesuffix("_quantized"), inputs[4:5] if kind == "DynamicQuantizeMatMul" else inputs[6:7]
    arrays[f"{matrix}_float"] = held.matrix(matrix)
    source = inputs[0].removesuffix("_quantized")
    if not any(bias):
        return [_node("MatMul", [source, f"{matrix}_float"], [output])]
    product = f"{output}_product"
    return [_node("MatMul", [source, f"{matrix}_float"], [product]), _node("Add", [product, *bias], [output])]


def _node(kind: str, inputs: list[str], outputs: list[str], domain: str = "", attributes: list[bytes] | None = None) -> bytes:
    body = b"".join(_field(1, name.encode()) for name in inputs) + b"".join(_field(2, name.encode()) for name in outputs)
    return body + _field(4, kind.encode()) + b"".join(_field(5, one) for one in attributes or []) + _field(7, domain.encode())


def _attribute(found) -> bytes:
    kind, body = found.Type(), _field(1, found.Name())
    values = {
        1: lambda: _field(2, found.F()),
        2: lambda: _field(3, found.I()),
        3: lambda: _field(4, found.S()),
        4: lambda: _field(5, _tensor(_values(found.T()))),
        6: lambda: b"".join(_field(7, found.Floats(number)) for number in range(found.FloatsLength())),
        7: lambda: b"".join(_field(8, found.Ints(number)) for number in range(found.IntsLength())),
    }
    return body + values[kind]() + _field(20, kind)


def _values(tensor) -> np.ndarray:
    types = {number: name for name, number in _ONNX_TYPES.items()}
    shape = [tensor.Dims(axis) for axis in range(tensor.DimsLength())]
    return tensor.RawDataAsNumpy().view(types[tensor.DataType()]).reshape(shape)


def _tensor(array: np.ndarray) -> bytes:
    shape = b"".join(_field(1, size) for size in array.shape)
    return shape + _field(2, _ONNX_TYPES[array.dtype.name]) + _field(9, array.tobytes())


def _value(name: str, kind: int) -> bytes:
    return _field(1, name.encode()) + _field(2, _field(1, _field(1, kind)))


def _field(number: int, value: int | float | bytes) -> bytes:
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
