"""Cost of a detector: parameters and floating-point operations (counted), time and memory of attention layers (measured).

Operations are counted by PyTorch (`FlopCounterMode`, two per multiply-add): matrix products and convolutions, without norms,
softmax, FFTs and the element-wise products of pairwise attention. Counting runs on the `meta` device, where attention consists
of plain matrix products, because the counter does not see the CPU's fused attention kernels. Therefore XLS-R 300M has 149 GFLOP
here instead of the published 145.
"""

from __future__ import annotations

import copy
import gc
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from statistics import median
from typing import Any

import pandas as pd
import psutil
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from aasist_lib.config import ModelConfig
from aasist_lib.models import AASIST, BackEnd
from aasist_lib.models.base import Frontend
from aasist_lib.models.graph import GraphAttention
from aasist_lib.models.original import AASIST_CONFIG, AASIST_L_CONFIG
from aasist_lib.models.pairwise import PairwiseAttention

XLSR_300M: dict[str, Any] = {
    "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096, "conv_bias": True,
    "do_stable_layer_norm": True, "feat_extract_norm": "layer",
}  # fmt: skip
"""Settings of `transformers.Wav2Vec2Config` for facebook/wav2vec2-xls-r-300m."""
PAPER_SAMPLES = 64_600
GIGA = 1e9


@dataclass(frozen=True)
class Cost:
    """Parameters with and without a gradient, and GFLOP of one clip through the front end and through the back end."""

    parameters_trained: int
    parameters_frozen: int
    gflop_backend: float
    gflop_frontend: float


def count(model: AASIST, samples: int) -> Cost:
    """The cost of a detector for one clip of `samples` samples at 16 kHz. The model is not changed."""
    trained, frozen = _parameters(model)
    sketch = _on_meta(model)
    with FlopCounterMode(display=False) as front:
        states = sketch.frontend(torch.empty(1, samples, device="meta"))
    with FlopCounterMode(display=False) as back:
        sketch.backend(states)
    return Cost(trained, frozen, back.get_total_flops() / GIGA, front.get_total_flops() / GIGA)


def shapes(model: AASIST, samples: int) -> dict[str, list[tuple[int, ...]]]:
    """Output shapes of all modules of a detector for one clip of `samples` samples, found with forward hooks.

    Returns:
        module name ('frontend', 'backend.nodes', …; of several members the first) -> the shapes of the tensors in its output,
        in order, the batch left out.
    """
    sketch = _on_meta(model)
    found: dict[str, list[tuple[int, ...]]] = {}
    for name, module in sketch.named_modules():
        module.register_forward_hook(_note(found, name.replace("backend.members.0", "backend")))
    sketch(torch.empty(1, samples, device="meta"))
    return found


def probe_cost(frontend: Frontend, samples: int) -> Cost:
    """The cost of the linear probe: one weight each for mean and deviation of every feature of every layer, and an offset."""
    weights = 2 * len(frontend.layers) * frontend.features + 1
    alone: Any = torch.nn.Module()
    alone.frontend, alone.backend = frontend, torch.nn.Identity()
    found = count(alone, samples)
    return Cost(weights, found.parameters_trained + found.parameters_frozen, 2 * weights / 1e9, found.gflop_frontend)


def table(samples: int = PAPER_SAMPLES) -> pd.DataFrame:
    """Counted and published costs of known models at full size for a clip of 4.04 s.

    Returns:
        columns `model, parameters, GFLOP` (counted), `quoted parameters, quoted GFLOP` (NaN where nothing is quoted).
    """
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    with torch.device("meta"):
        encoder = Wav2Vec2Model(Wav2Vec2Config(**XLSR_300M)).eval()
    states = encoder(torch.empty(1, samples, device="meta")).last_hidden_state[:, None]
    original: dict[str, Any] = {"graph_attention": "pairwise", "heterogeneous": "type_pairs", "fusion": "max"}
    rows: list[tuple] = [("XLS-R 300M, the encoder", encoder, torch.empty(1, samples, device="meta"), 300e6, 145)]
    rows += [("back end of the paper, behind the encoder", _back_end(ModelConfig()), states, 576e3, 1.4)]
    rows += [("original back end, behind the encoder", _back_end(ModelConfig(**original)), states, 447e3, None)]
    for name, config, quoted in (("original AASIST", AASIST_CONFIG, 298e3), ("original AASIST-L", AASIST_L_CONFIG, None)):
        waveform = torch.empty(1, samples, device="meta")
        rows.append((f"{name}, from the waveform", _on_meta(AASIST(config)), waveform, quoted, None))
    columns = ["model", "parameters", "GFLOP", "quoted parameters", "quoted GFLOP"]
    counted = [(name, sum(_parameters(model)), _gflop(model, given), *quoted) for name, model, given, *quoted in rows]
    return pd.DataFrame(counted, columns=columns).astype({"quoted parameters": float, "quoted GFLOP": float})


# ---- attention layers, measured --------------------------------------------------------------------------------------

FEATURES, HEADS, DROPOUT = 64, 4, 0.1
REPEATS, LONG_SECONDS = 5, 0.5
PAIR_TENSORS = 5
"""Tensors of nodes x nodes x features reserved for pairwise attention: it was measured to hold four at its peak."""


def attention_costs(nodes: Sequence[int], batch: int = 1) -> pd.DataFrame:
    """Time and memory of one forward and backward pass of attention layers over graphs of these sizes, on this machine's CPU.

    One thread is used: several would wait for one another on a busy machine.

    Three layers of 64 features: `pairwise` as in original AASIST, `multihead` as trained here, with dropout on its weights, and
    `multihead, no dropout`: fused CPU kernels do not support dropout, so only the last never stores its attention weights. (GPU
    kernels support it.)

    Returns:
        columns `attention, nodes, seconds` (median of five, or of one where a pass takes longer than half a second),
        `megabytes` (peak memory beyond layer and input) and `note`: why a pass was not run, or ''.
    """
    layers: dict[str, Callable[[], nn.Module]] = {
        "pairwise": lambda: PairwiseAttention(FEATURES, FEATURES, temperature=2.0, dropout=DROPOUT),
        "multihead": lambda: GraphAttention(FEATURES, FEATURES, HEADS, DROPOUT),
        "multihead, no dropout": lambda: GraphAttention(FEATURES, FEATURES, HEADS, 0.0),
    }
    rows = []
    with _one_thread():
        for name, size in itertools.product(layers, nodes):
            needed, free = 4 * PAIR_TENSORS * batch * size**2 * FEATURES, psutil.virtual_memory().available
            if name == "pairwise" and needed > free:
                note = f"not run: about {needed / GIGA:.1f} GB needed, {free / GIGA:.1f} GB free"
                rows.append((name, size, float("nan"), float("nan"), note))
            else:
                rows.append((name, size, *_measure(layers[name](), torch.randn(batch, size, FEATURES)), ""))
    return pd.DataFrame(rows, columns=["attention", "nodes", "seconds", "megabytes", "note"])


def _measure(layer: nn.Module, nodes: Tensor) -> tuple[float, float]:
    """Seconds and megabytes of a forward and backward pass."""
    nodes.requires_grad_()

    def once() -> float:
        layer.zero_grad(set_to_none=True)
        nodes.grad = None
        started = time.perf_counter()
        layer(nodes)[0].sum().backward()
        return time.perf_counter() - started

    first = once()
    megabytes = peak_bytes(once) / 1e6
    return median(once() for _ in range(REPEATS)) if first < LONG_SECONDS else first, megabytes


def peak_bytes(work: Callable[[], Any]) -> int:
    """Peak memory of `work` in torch's CPU allocator, in bytes, beyond the memory held before."""
    gc.collect()
    with _without_chatter(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    changes = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(changes, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Suppress two lines that the profiler writes directly to stderr at every start."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


# ---- helpers ---------------------------------------------------------------------------------------------------------


def _on_meta(model: nn.Module) -> Any:
    """A copy in eval mode on the `meta` device: tensors have shapes but no content."""
    contents: dict[int, Any] = {
        id(tensor): nn.Parameter(tensor.detach().to("meta"), tensor.requires_grad) for tensor in model.parameters()
    }
    contents |= {id(tensor): tensor.to("meta") for tensor in model.buffers()}
    return copy.deepcopy(model, contents).eval()


def _back_end(config: ModelConfig) -> nn.Module:
    with torch.device("meta"):
        return BackEnd(config, layers=1, features=XLSR_300M["hidden_size"]).eval()


def _gflop(model: nn.Module, given: Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        model(given)
    return counter.get_total_flops() / GIGA


def _parameters(model: nn.Module) -> tuple[int, int]:
    sizes = [(parameter.requires_grad, parameter.numel()) for parameter in model.parameters()]
    return sum(size for trained, size in sizes if trained), sum(size for trained, size in sizes if not trained)


def _note(found: dict[str, list[tuple[int, ...]]], name: str) -> Callable[..., None]:
    def hook(module: nn.Module, given: Any, output: Any) -> None:
        found[name] = [tuple(tensor.shape[1:]) for tensor in _tensors(output)]

    return hook


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, list | tuple):
        for item in output:
            yield from _tensors(item)
    elif is_dataclass(output):
        yield from _tensors([getattr(output, field.name) for field in fields(output)])
