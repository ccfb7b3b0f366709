"""Measure time and memory of one attention layer over growing graphs: pairwise as in original AASIST, and multi-head.

    python benchmarks/attention.py
    python benchmarks/attention.py --nodes 50 200 --figure attention.png

A forward and backward pass of one graph with 64 features, on one CPU thread (several would wait for one another on a busy
machine). Three layers: `pairwise`; `multihead` as trained here, with dropout on its weights; and `multihead, no dropout`. The
CPU's fused kernels do not support dropout, so only the last never stores its attention weights. GPU kernels support it.

Prints one JSON line per layer and size: `seconds` (median of five passes, or one pass if it takes longer than half a second)
and `megabytes` (peak memory beyond layer and input). Pairwise attention is not run where its memory would not fit.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import pandas as pd
import psutil
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter, NullLocator
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from aasist_lib.config import ModelConfig
from aasist_lib.models.graph import GraphAttention
from aasist_lib.models.pairwise import PairwiseAttention
from aasist_lib.plots.style import PALETTE, make_figure, styled

NODES = (50, 100, 200, 400, 800, 2000)
FEATURES = 64
REPEATS, LONG_SECONDS = 5, 0.5
PAIR_TENSORS = 5
"""Tensors of nodes x nodes x features reserved for pairwise attention: it was measured to hold four at its peak."""
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "pairwise": lambda: PairwiseAttention(FEATURES, FEATURES, ModelConfig()),
    "multihead": lambda: GraphAttention(FEATURES, FEATURES, ModelConfig()),
    "multihead, no dropout": lambda: GraphAttention(FEATURES, FEATURES, ModelConfig(attention_dropout=0.0)),
}
STYLES = {  # label, colour, line style, marker
    "pairwise": ("pairwise product", PALETTE[3], "--", "s"),
    "multihead": ("multi-head, dropout", PALETTE[0], "-", "o"),
    "multihead, no dropout": ("multi-head, fused kernel", PALETTE[2], ":", "^"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=NODES)
    parser.add_argument("--figure", help="save the figure in this file, for example attention.png")
    options = parser.parse_args()
    costs = attention_costs(options.nodes)
    for line in costs.to_dict(orient="records"):
        print(json.dumps({key: value for key, value in line.items() if value == value}))
    if options.figure:
        attention_cost_figure(costs).savefig(options.figure)


def attention_costs(nodes: Sequence[int]) -> pd.DataFrame:
    """Return `attention, nodes, seconds, megabytes` and `note`: why a layer was not run (its figures are NaN), or ''."""
    torch.set_num_threads(1)
    rows = []
    for name, size in itertools.product(LAYERS, nodes):
        needed, free = 4 * PAIR_TENSORS * size**2 * FEATURES, psutil.virtual_memory().available
        if name == "pairwise" and needed > free:
            note = f"not run: about {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free"
            rows.append((name, size, float("nan"), float("nan"), note))
        else:
            rows.append((name, size, *measure(LAYERS[name](), torch.randn(1, size, FEATURES)), ""))
    return pd.DataFrame(rows, columns=["attention", "nodes", "seconds", "megabytes", "note"])


def measure(layer: nn.Module, nodes: Tensor) -> tuple[float, float]:
    """Return seconds and megabytes of a forward and backward pass."""
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
    """Return the peak memory of `work` in torch's CPU allocator, in bytes, beyond the memory held before."""
    gc.collect()
    with without_stderr(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    changes = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(changes, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


@contextmanager
def without_stderr() -> Iterator[None]:
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


@styled
def attention_cost_figure(costs: pd.DataFrame) -> Figure:
    """Draw time and memory over the number of nodes, on logarithmic scales; a cross marks what was not run."""
    figure, panels = make_figure(9.6, 4.4, 1, 2)
    for axes, column, factor, label in ((panels[0], "seconds", 1e3, "Time (ms)"), (panels[1], "megabytes", 1, "Memory (MB)")):
        for name, part in costs.groupby("attention", sort=False):
            text, colour, line, marker = STYLES[name]
            known = part[part[column].notna()]
            axes.plot(known["nodes"], factor * known[column], line, color=colour, marker=marker, linewidth=2, label=text)
            for lost in part.loc[part[column].isna(), "nodes"]:
                place = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "center", "color": colour}
                axes.text(lost, 1.0, "×", **place, fontsize="x-large").set_in_layout(False)
        axes.set(xscale="log", yscale="log", xlabel="Nodes", ylabel=label)
        ticks = sorted(costs["nodes"].unique())
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(LogFormatter())
    figure.suptitle("One attention layer, forward and backward", x=0.01, ha="left")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=3)
    return figure


if __name__ == "__main__":
    main()
