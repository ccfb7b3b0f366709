"""Run the demo with several seeds: mean and standard deviation of the EER, for the detector and the baseline.

    python benchmarks/demo_seeds.py --seeds 1 2 3

Runs notebooks 01, 03 and 05 once per seed (finished ones are skipped), prints a Markdown table and then one JSON line. The
table's last rows are for the mean of all detectors' scores. They show how much of the error is due to a single training.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd

from aasist_lib.config import load_profile, project_root
from aasist_lib.metrics import results_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    folders = [run(options.profile, seed, options.set) for seed in options.seeds]
    parts = [pd.DataFrame(json.loads((folder / "metrics" / "results.json").read_text())) for folder in folders]
    parts.append(averaged(folders))
    keys = ["system", "split", "attacks"]
    summary = pd.concat(parts).groupby(keys, sort=False)["EER"].agg(average="mean", deviation="std", each=list).reset_index()
    print("| system | split | attacks | EER, mean ± deviation | each seed |\n|---|---|---|---|---|")
    for row in summary.itertuples():
        each = ", ".join(f"{100 * value:.1f}" for value in row.each)
        eer = f"{100 * row.average:.1f} ± {100 * row.deviation:.1f} %" if len(row.each) > 1 else f"{100 * row.average:.1f} %"
        print(f"| {row.system} | {row.split} | {row.attacks} | {eer} | {each} |")
    print(json.dumps({"seeds": options.seeds, "rows": summary.to_dict(orient="records")}))


def run(profile: str, seed: int, overrides: list[str]) -> Path:
    """Run one seed; returns its run folder."""
    settings = [f"seed={seed}", f"name={profile}-seed{seed}", *overrides]
    command = [sys.executable, "-m", "aasist_lib", "run", profile, "--only", "01", "03", "05", "--set", *settings]
    subprocess.run(command, check=True, cwd=project_root())
    return project_root() / load_profile(profile, settings).folder


def averaged(folders: list[Path]) -> pd.DataFrame:
    """Return the results table for the mean score of the detectors."""
    trials = pd.read_parquet(folders[0] / "trials" / "trials.parquet")
    known = set(trials.loc[trials["split"] == "train", "attack"]) - {"-"}
    tables = {}
    for split in ("dev", "eval"):
        scores = [pd.read_parquet(folder / "scores" / f"aasist_{split}.parquet") for folder in folders]
        mean = pd.concat(scores).groupby("utt_id")["score"].mean()
        tables["together", split] = scores[0].assign(score=scores[0]["utt_id"].map(mean))
    return results_table(tables, known, {"together": "mean score of the detectors"}, replicates=1)


if __name__ == "__main__":
    main()
