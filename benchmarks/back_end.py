"""Measure the back end at the paper's size on one CPU thread: optimised, in a plain form, and as the paper's code runs it.

    OMP_NUM_THREADS=1 python benchmarks/back_end.py

The input is a batch of 8 clips of 201 frames x 1024 features. Measured are a forward pass in eval mode, and the forward and
backward pass of a training step. The forms have the same weights and take turns in every round:

- `now`: the library's back end;
- `now in bf16`: the same with `training.mixed_precision: bf16`, whose logits differ;
- `plain`: the same network without optimisations, as in an earlier version of this library;
- `paper`: `plain` as called by the paper's code: every attention with `need_weights=True`, and no layer mix. (The paper's code
  is not included; it has 576 k parameters, this network 505 k.)
- `convolutions`: only the convolutions of `now`, computed by the library that PyTorch calls (oneDNN). Every implementation of
  the network needs them.

Prints one JSON line: CPU milliseconds (minimum and median over rounds), the ratio of `now` to each form (of both), page faults
per pass, the peak resident memory of each form's process, and the memory that a training step stores for its backward pass, in
MB. Each form runs in its own process, as in use. Page faults occur when the C library returns memory to the system and requests
it again, and their number depends on everything a process does. With MALLOC_TRIM_THRESHOLD_=4000000000
MALLOC_MMAP_THRESHOLD_=4000000000 in the environment, glibc keeps its memory, and every form has almost no page faults. With
`--without` the forms are `now`, and `now` without each one of the optimisations.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from statistics import mean, median

import torch
from torch import Tensor, nn
from torch.nn import functional

from aasist_lib.config import ModelConfig
from aasist_lib.models import BackEnd
from aasist_lib.models.nodes import NODE_STRIDE, FeatureNodes, Nodes, ResidualBlock

BATCH, FRAMES, FEATURES = 8, 201, 1024
WARM_UP = 2
FORMS = ("now", "now in bf16", "plain", "paper", "convolutions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--without", action="store_true", help="measure the effect of each optimisation")
    options = parser.parse_args()
    names = ("now", *WITHOUT) if options.without else FORMS
    context = multiprocessing.get_context("spawn")
    workers = {name: ProcessPoolExecutor(1, context, start, (name,)) for name in names}
    found = {}
    for task in (forward, forward_backward):
        passes: dict[str, list[tuple[float, int]]] = {name: [] for name in names}
        for _ in range(WARM_UP + options.rounds):
            for name, worker in workers.items():
                passes[name].append(worker.submit(measured, task.__name__).result())
        found[task.__name__] = summary({name: some[WARM_UP:] for name, some in passes.items()})
    found["peak_mb"] = {name: worker.submit(peak_mb).result() for name, worker in workers.items()}
    found["kept_mb"] = {name: worker.submit(kept_mb).result() for name, worker in workers.items()}
    print(json.dumps(found | {"rounds": options.rounds}))


def summary(passes: dict[str, list[tuple[float, int]]]) -> dict[str, dict]:
    """Summarise (milliseconds, page faults) per pass for each form; `now over` has the ratios of minima and of medians."""
    facts: dict[str, dict] = {}
    for name, some in passes.items():
        ms, faults = zip(*some, strict=True)
        facts[name] = {"ms": (round(min(ms), 1), round(median(ms), 1)), "page_faults": round(mean(faults))}
    over = {}
    for ours in ("now", "now in bf16"):
        pairs = {name: zip(facts[ours]["ms"], form["ms"], strict=True) for name, form in facts.items() if ours in facts}
        over[f"{ours} over"] = {name: [round(a / b, 3) for a, b in pair] for name, pair in pairs.items()}
    return facts | over


# ---- inside a form's process -----------------------------------------------------------------------------------------


def start(name: str) -> None:
    """Prepare this process to run a form."""
    global FORM, STATES
    torch.set_num_threads(1)
    torch.manual_seed(0)
    FORM, STATES = build(name), torch.randn(BATCH, 1, FRAMES, FEATURES)


def build(name: str) -> nn.Module:
    """Return the form with this name."""
    model = BackEnd(ModelConfig(), 1, FEATURES)
    forms = {"now": lambda: model, "plain": lambda: plain(model), "paper": lambda: Paper(plain(model))}
    forms |= {"now in bf16": lambda: Bf16(model), "convolutions": lambda: Convolutions(model)}
    return without(model, name) if name in WITHOUT else forms[name]()


def measured(task: str) -> tuple[float, int]:
    """Return CPU milliseconds and page faults of one pass. Other programs affect CPU time less than wall-clock time."""
    faults, begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time()
    {"forward": forward, "forward_backward": forward_backward}[task](FORM, STATES)
    return 1e3 * (time.process_time() - begin), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults


@torch.inference_mode()
def forward(form: nn.Module, states: Tensor) -> None:
    form.eval()(states)


def forward_backward(form: nn.Module, states: Tensor) -> None:
    form.train().zero_grad()
    form(states).square().sum().backward()


def peak_mb() -> int:
    """Return the peak resident memory of this process so far, in MB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def kept_mb() -> float:
    """Return `kept_bytes` of this process's form, in MB."""
    return round(kept_bytes(FORM, STATES) / 1e6, 1)


def kept_bytes(form: nn.Module, states: Tensor) -> int:
    """What autograd keeps of one training step between forward and backward, weights and input left out."""
    kept = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = form.train()(states)
    for tensor in (states, *form.parameters(), *form.buffers()):
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    del logits
    return sum(kept.values())


# ---- the plain form --------------------------------------------------------------------------------------------------


def plain(model: BackEnd) -> BackEnd:
    """Return a copy of a back end in the plain form, with the same weights and results."""
    return as_other(model, PLAIN)


def without(model: BackEnd, step: str) -> BackEnd:
    """Return a copy of a back end without one optimisation (from `WITHOUT`), with the same weights."""
    return as_other(model, WITHOUT[step])


def as_other(model: BackEnd, kinds: dict[type[nn.Module], type[nn.Module]]) -> BackEnd:
    """Return a copy whose modules have other classes, with the same tensors but another `forward`."""
    model = copy.deepcopy(model)
    for module in model.modules():
        module.__class__ = kinds.get(type(module), type(module))
    return model


class PlainBlock(ResidualBlock):
    """AASIST's residual block, with a new tensor for every step."""

    def forward(self, image: Tensor) -> Tensor:
        inside = image if isinstance(self.pre, nn.Identity) else functional.selu(self.pre[0](image))
        return self.conv2(functional.selu(self.norm(self.conv1(inside)))) + self.shortcut(image)


class PlainNodes(FeatureNodes):
    """Nodes from an image in channels-first layout, for the whole batch at once."""

    def forward(self, frames: Tensor, with_places: bool = False) -> Nodes:
        image = functional.max_pool2d(self.project(frames).transpose(1, 2).unsqueeze(1), NODE_STRIDE)
        image = self.blocks(functional.selu(self.entry[1](image)))
        image = functional.selu(self.norm(image))
        widen, _, norm, narrow = self.attention
        logits = norm(functional.selu(functional.conv2d(image, widen.weight, widen.bias)))
        logits = functional.conv2d(logits, narrow.weight, narrow.bias)
        over_time, over_frequency = logits.softmax(dim=-1), logits.softmax(dim=-2)
        spectral = (image * over_time).sum(dim=-1).transpose(1, 2) + self.position
        temporal = (image * over_frequency).sum(dim=-2).transpose(1, 2)
        return Nodes(spectral, temporal, over_time.mean(dim=1), over_frequency.mean(dim=1).transpose(1, 2))


PLAIN = {ResidualBlock: PlainBlock, FeatureNodes: PlainNodes}


class ChannelsFirst(FeatureNodes):
    """`FeatureNodes` with its image in PyTorch's default layout."""

    def _nodes(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        image = self.entry(self.project(frames).unsqueeze(1)).transpose(2, 3).contiguous()
        image = self.selu(self.norm(self.blocks(image)))
        logits = self.attention(image)
        over_time, over_frequency = logits.softmax(dim=-1), logits.softmax(dim=-2)
        spectral = (image * over_time).sum(dim=-1).transpose(1, 2) + self.position
        temporal = (image * over_frequency).sum(dim=-2).transpose(1, 2)
        return spectral, temporal, over_time.mean(dim=1), over_frequency.mean(dim=1).transpose(1, 2)


class WholeBatch(FeatureNodes):
    """`FeatureNodes` that processes the whole batch at once in eval mode too."""

    def forward(self, frames: Tensor, with_places: bool = False) -> Nodes:
        return Nodes(*self._nodes(frames))


class OwnPointwise(nn.Conv2d):
    """Convolution that uses PyTorch's own implementation for 1 x 1 kernels."""

    def forward(self, image: Tensor) -> Tensor:
        if self.kernel_size != (1, 1):
            return super().forward(image)
        return functional.conv2d(image, self.weight, self.bias)


class KeepingSelu(nn.SELU):
    """SELU that does not overwrite its input."""

    def forward(self, given: Tensor) -> Tensor:
        return functional.selu(given)


WITHOUT = {
    "channels last": {FeatureNodes: ChannelsFirst},
    "groups": {FeatureNodes: WholeBatch},
    "oneDNN for 1 x 1": {nn.Conv2d: OwnPointwise},
    "overwriting": {nn.SELU: KeepingSelu, ResidualBlock: PlainBlock},
}


class Bf16(nn.Module):
    """A back end as `training.mixed_precision: bf16` runs it."""

    def __init__(self, model: BackEnd) -> None:
        super().__init__()
        self.model = model

    def forward(self, states: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.model(states).float()


class Paper(nn.Module):
    """The plain form without a layer mix, with the weights of every attention computed."""

    def __init__(self, model: BackEnd) -> None:
        super().__init__()
        self.member = model.members[0]

    def forward(self, states: Tensor) -> Tensor:
        return self.member(states[:, 0], layer_weights=states.new_ones(1))[0]


class Convolutions(nn.Module):
    """Only the convolutions of a back end, each on random input of its shape and layout; returns the sum of each output."""

    def __init__(self, model: BackEnd, frames: int = FRAMES, features: int = FEATURES) -> None:
        super().__init__()
        model, seen = copy.deepcopy(model).eval(), []
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_pre_hook(lambda layer, given: seen.append((layer, given[0].shape[1:])))
        model(torch.randn(1, 1, frames, features))
        self.layers = nn.ModuleList(layer for layer, _ in seen)
        for layer in self.layers:
            layer._forward_pre_hooks.clear()
        images = (torch.randn(BATCH, *shape).to(memory_format=torch.channels_last) for _, shape in seen)
        self.given = [image.requires_grad_() for image in images]

    def forward(self, states: Tensor) -> Tensor:
        return torch.stack([layer(image).sum() for layer, image in zip(self.layers, self.given, strict=True)])


if __name__ == "__main__":
    main()
