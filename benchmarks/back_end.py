"""Measure the paper's back end on one CPU thread: as in the library, and in the published form (benchmarks/published.py).

    OMP_NUM_THREADS=1 python -m benchmarks.back_end

The input is a batch of 8 clips of 201 frames x 1024 features. Measured are a forward pass in eval mode, and the forward and
backward pass of a training step. The forms take turns in every round, each in its own process:

- `now`: the library's back end;
- `now in bf16`: the same with `training.mixed_precision: bf16`, whose logits differ;
- `published`: the published form, as its code runs it: the weights of every `nn.MultiheadAttention` computed, channels first;
- `convolutions`: only the convolutions of `now`. Every implementation of the network needs them.

All is done for two settings of the C library: `glibc`, where large blocks of memory are returned to the system and requested
again, page by page, and `memory kept` (MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_ in the environment). Prints one JSON
line for each: CPU milliseconds as [minimum, median] over the rounds, the ratios of the same to `published`, and the memory that
a training step stores for its backward pass, in MB.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from statistics import median

import torch
from torch import Tensor, nn

from aasist_lib.config import ModelConfig
from aasist_lib.models import BackEnd
from benchmarks.published import SIZES, PublishedBackEnd

BATCH, FRAMES, FEATURES = 8, 201, 1024
WARM_UP = 2
FORMS = ("now", "now in bf16", "published", "convolutions")
KEPT = {"MALLOC_TRIM_THRESHOLD_": "4000000000", "MALLOC_MMAP_THRESHOLD_": "4000000000"}
ALLOCATORS: dict[str, dict[str, str]] = {"glibc": {}, "memory kept": KEPT}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    for name, variables in ALLOCATORS.items():
        os.environ.update(variables)  # read by the C library of a new process
        print(json.dumps({"allocator": name, "rounds": rounds, **measure(rounds)}), flush=True)


def measure(rounds: int) -> dict:
    """Measure every form in turn, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    workers = {name: ProcessPoolExecutor(1, context, start, (name,)) for name in FORMS}
    found: dict = {}
    for task in ("forward", "step"):
        passes: dict[str, list[float]] = {name: [] for name in FORMS}
        for _ in range(WARM_UP + rounds):
            for name, worker in workers.items():
                passes[name].append(worker.submit(milliseconds, task).result())
        ms = {name: (min(some[WARM_UP:]), median(some[WARM_UP:])) for name, some in passes.items()}
        found[task] = {name: [round(value, 1) for value in pair] for name, pair in ms.items()}
        over = {name: [round(a / b, 3) for a, b in zip(pair, ms["published"], strict=True)] for name, pair in ms.items()}
        found[f"{task} over published"] = over
    found["stored_mb"] = {name: worker.submit(stored_mb).result() for name, worker in workers.items()}
    for worker in workers.values():
        worker.shutdown()
    return found


# ---- inside a form's process -----------------------------------------------------------------------------------------


def start(name: str) -> None:
    """Prepare this process to run a form."""
    global FORM, STATES
    torch.set_num_threads(1)
    torch.manual_seed(0)
    FORM, STATES = build(name), torch.randn(BATCH, 1, FRAMES, FEATURES)


def build(name: str) -> nn.Module:
    """Return the form with this name: states `(batch, 1, frames, features)` -> logits."""
    if name == "published":
        return Unstacked(PublishedBackEnd(**SIZES))
    model = BackEnd(ModelConfig(), 1, FEATURES)
    return {"now": lambda: model, "now in bf16": lambda: Bf16(model), "convolutions": lambda: Convolutions(model)}[name]()


def milliseconds(task: str) -> float:
    """Return the CPU milliseconds of one pass. Other programs affect CPU time less than wall-clock time."""
    begin = time.process_time()
    if task == "forward":
        with torch.inference_mode():
            FORM.eval()(STATES)
    else:
        FORM.train().zero_grad()
        FORM(STATES).square().sum().backward()
    return 1e3 * (time.process_time() - begin)


def stored_mb() -> float:
    """Return `stored_bytes` of this process's form, in MB."""
    return round(stored_bytes(FORM, STATES) / 1e6, 1)


def stored_bytes(form: nn.Module, states: Tensor) -> int:
    """What autograd stores of one training step between forward and backward, without weights and input."""
    stored = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        stored[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = form.train()(states)
    for tensor in (states, *form.parameters(), *form.buffers()):
        stored.pop(tensor.untyped_storage().data_ptr(), None)
    del logits
    return sum(stored.values())


class Unstacked(nn.Module):
    """A form that takes frames, given the states of one layer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, states: Tensor) -> Tensor:
        return self.model(states[:, 0])


class Bf16(nn.Module):
    """A back end as `training.mixed_precision: bf16` runs it."""

    def __init__(self, model: BackEnd) -> None:
        super().__init__()
        self.model = model

    def forward(self, states: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.model(states).float()


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
