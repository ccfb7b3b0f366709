"""The demo over several seeds: mean and standard deviation of EER, for the detector and the baseline.

    python benchmarks/demo_seeds.py --seeds 1 2 3

Runs notebooks 01, 03 and 05 once a seed (finished ones are skipped), prints a Markdown table and, last, one JSON line.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import pandas as pd

from aasist_lib.config import load_profile, project_root


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    parts = [run(options.profile, seed, options.set) for seed in options.seeds]
    keys = ["system", "split", "attacks"]
    summary = pd.concat(parts).groupby(keys, sort=False)["EER"].agg(average="mean", deviation="std", each=list).reset_index()
    print("| system | split | attacks | EER, mean ± deviation | each seed |\n|---|---|---|---|---|")
    for row in summary.itertuples():
        each = ", ".join(f"{100 * value:.1f}" for value in row.each)
        eer = f"{100 * row.average:.1f} ± {100 * row.deviation:.1f} %"
        print(f"| {row.system} | {row.split} | {row.attacks} | {eer} | {each} |")
    print(json.dumps({"seeds": options.seeds, "rows": summary.to_dict(orient="records")}))


def run(profile: str, seed: int, overrides: list[str]) -> pd.DataFrame:
    """The results table of one seed."""
    settings = [f"seed={seed}", f"name={profile}-seed{seed}", *overrides]
    command = [sys.executable, "-m", "aasist_lib", "run", profile, "--only", "01", "03", "05", "--set", *settings]
    subprocess.run(command, check=True, cwd=project_root())
    folder = project_root() / load_profile(profile, settings).folder
    return pd.DataFrame(json.loads((folder / "metrics" / "results.json").read_text()))


if __name__ == "__main__":
    main()
