"""Cost of a detector: counted parameters and floating-point operations.

Operations are counted by PyTorch (`FlopCounterMode`, two per multiply-add): matrix products and convolutions, without norms,
softmax, FFTs and the element-wise products of pairwise attention. Counting runs on the `meta` device, where attention consists
of plain matrix products, because the counter does not see the CPU's fused attention kernels. Therefore XLS-R 300M has 149 GFLOP
here instead of the published 145.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from aasist_lib.config import ModelConfig, paper_values
from aasist_lib.models import AASIST, BackEnd
from aasist_lib.models.base import Frontend
from aasist_lib.models.original import AASIST_CONFIG, AASIST_L_CONFIG, ORIGINAL

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


def count_cost(model: AASIST, samples: int) -> Cost:
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
    found = count_cost(alone, samples)
    return Cost(weights, found.parameters_trained + found.parameters_frozen, 2 * weights / 1e9, found.gflop_frontend)


def cost_table(samples: int = PAPER_SAMPLES) -> pd.DataFrame:
    """Counted and published costs of known models at full size for a clip of 4.04 s.

    Returns:
        columns `model, parameters, GFLOP` (counted), `quoted parameters, quoted GFLOP` (NaN where nothing is quoted).
    """
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    with torch.device("meta"):
        encoder = Wav2Vec2Model(Wav2Vec2Config(**XLSR_300M)).eval()
    states = encoder(torch.empty(1, samples, device="meta")).last_hidden_state[:, None]
    paper = {key: quoted.value for key, quoted in paper_values().items()}
    own = paper["parameters_back_end"], paper["gflop_back_end"]
    rows: list[tuple] = [
        ("XLS-R 300M, the encoder", encoder, torch.empty(1, samples, device="meta"), 300e6, paper["gflop_encoder"]),
        ("back end of the paper, behind the encoder", _back_end(ModelConfig()), states, *own),
        ("original back end, behind the encoder", _back_end(ModelConfig(**ORIGINAL)), states, 447e3, None),
    ]
    for name, config, quoted in (("original AASIST", AASIST_CONFIG, 298e3), ("original AASIST-L", AASIST_L_CONFIG, None)):
        waveform = torch.empty(1, samples, device="meta")
        rows.append((f"{name}, from the waveform", _on_meta(AASIST(config)), waveform, quoted, None))
    columns = ["model", "parameters", "GFLOP", "quoted parameters", "quoted GFLOP"]
    counted = [(name, sum(_parameters(model)), _gflop(model, given), *quoted) for name, model, given, *quoted in rows]
    return pd.DataFrame(counted, columns=columns).astype({"quoted parameters": float, "quoted GFLOP": float})


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
