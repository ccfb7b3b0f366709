"""Measure how long the clip explorer takes to redraw, for each map: from the choice to the finished page.

    python benchmarks/explorer_redraw.py --run runs/demo

The time includes reading the clip, computing the map and drawing, but not sending the page to the browser. Prints one JSON
line: seconds, median over clips.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median

import pandas as pd
import torch

from aasist_lib.explain.attribution import MAPS
from aasist_lib.explore import ClipExplorer
from aasist_lib.models.checkpoints import load_model
from aasist_lib.runtime.run_folder import RunFolder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="folder of a finished run")
    parser.add_argument("--clips", type=int, default=5)
    options = parser.parse_args()
    run = RunFolder(options.run)
    model, facts = load_model(run.path("checkpoints", "best"))
    scores = pd.read_parquet(run.path("scores", "aasist_dev.parquet"))
    explorer = ClipExplorer(model, scores, facts["dev_threshold"])
    clips = explorer.select("dev").iloc[:: max(len(scores) // options.clips, 1)]
    explorer.page(clips.iloc[0], "nodes")  # loads fonts and fills caches, once per session
    seconds = {name: median(timed(explorer, clip, name) for _, clip in clips.iterrows()) for name in MAPS}
    print(json.dumps({"clips": len(clips), "threads": torch.get_num_threads(), "seconds": seconds}))


def timed(explorer: ClipExplorer, clip: pd.Series, name: str) -> float:
    """Return the seconds of one redraw."""
    start = time.perf_counter()
    explorer.page(clip, name)
    return round(time.perf_counter() - start, 3)


if __name__ == "__main__":
    main()
