"""The back end at the paper's size on one CPU thread: as it is, in its plain form, and as the paper's code runs it.

    OMP_NUM_THREADS=1 python benchmarks/back_end.py

A batch of 8 clips of 201 frames x 1024 features, forward in eval mode and a training step's forward + backward. The forms hold
the same weights and take turns in every round. `now` is the library's. `plain` is the same network written down without a
thought of time, as it once stood here. `paper` is `plain` as the paper's code calls it: every attention with
`need_weights=True`, and no layer mix. (That code is not here; it has 576 k parameters, this network 505 k.) `convolutions` are
the convolutions of `now` alone, by the library that PyTorch calls for them (oneDNN): no way to write the network down can do
without them. One JSON line: CPU milliseconds (minimum and median over rounds), ratios of the minima, and the MB of activations
that a training step keeps for its backward pass.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional

from aasist_lib.config import ModelConfig
from aasist_lib.models import BackEnd
from aasist_lib.models.nodes import NODE_STRIDE, FeatureNodes, Nodes, ResidualBlock

BATCH, FRAMES, FEATURES = 8, 201, 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    now = BackEnd(ModelConfig(), 1, FEATURES)
    forms = {"now": now, "plain": plain(now), "paper": Paper(plain(now)), "convolutions": Convolutions(now)}
    states = torch.randn(BATCH, 1, FRAMES, FEATURES)
    found = {"forward": measure(forms, states, options.rounds, forward)}
    found["forward_backward"] = measure(forms, states, options.rounds, forward_backward)
    ratios = {name: {form: round(ms["now"][0] / ms[form][0], 3) for form in ("plain", "paper")} for name, ms in found.items()}
    kept = {name: round(kept_bytes(forms[name], states) / 1e6, 1) for name in ("now", "plain", "paper")}
    print(json.dumps({"cpu_ms_min_median": found, "now_over": ratios, "activations_mb": kept, "rounds": options.rounds}))


def measure(
    forms: dict[str, nn.Module], states: Tensor, rounds: int, call: Callable[[nn.Module, Tensor], None]
) -> dict[str, tuple[float, float]]:
    """CPU milliseconds of each form, minimum and median; CPU time is less disturbed by other programs. Two rounds warm up."""
    taken: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(rounds + 2):
        for name, form in forms.items():
            start = time.process_time()
            call(form, states)
            taken[name].append(1e3 * (time.process_time() - start))
    return {name: (round(min(ms[2:]), 1), round(median(ms[2:]), 1)) for name, ms in taken.items()}


@torch.inference_mode()
def forward(form: nn.Module, states: Tensor) -> None:
    form.eval()(states)


def forward_backward(form: nn.Module, states: Tensor) -> None:
    form.train().zero_grad()
    form(states).square().sum().backward()


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
    """A copy of a back end, with the same weights, that computes the same in the plain form."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if type(module) in PLAIN:
            module.__class__ = PLAIN[type(module)]
    return model


class PlainBlock(ResidualBlock):
    """AASIST's residual block, every step a new tensor."""

    def forward(self, image: Tensor) -> Tensor:
        inside = image if isinstance(self.pre, nn.Identity) else functional.selu(self.pre[0](image))
        return self.conv2(functional.selu(self.norm(self.conv1(inside)))) + self.shortcut(image)


class PlainNodes(FeatureNodes):
    """Nodes from an image with its channels first, the whole batch at once."""

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


class Paper(nn.Module):
    """The plain form without a layer mix and with every attention's weights computed."""

    def __init__(self, model: BackEnd) -> None:
        super().__init__()
        self.member = model.members[0]

    def forward(self, states: Tensor) -> Tensor:
        return self.member(states[:, 0], layer_weights=states.new_ones(1))[0]


class Convolutions(nn.Module):
    """The convolutions of a back end alone, each on random input of its own shape and layout; the sum of what they give."""

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
