"""Test which maps are faithful, over several trainings: localisation in partly spoofed clips, deletion and insertion.

    python benchmarks/demo_faithfulness.py --runs runs/demo-seed1 runs/demo-seed2 runs/demo-seed3 --clips 60

Makes the partial-spoof sets of dev and eval (`--clips` recordings each), and measures localisation on them for every map and
every run's best checkpoint. Deletion and insertion are measured on eval clips of the corpus itself. All numbers are for eval.
The last lines of the report are for the map that was best on dev. Prints Markdown tables with mean ± standard deviation over
the runs, and one JSON line at the end.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import pandas as pd

from aasist_lib.config import Profile
from aasist_lib.corpora import load_trials
from aasist_lib.experiments.robustness import balanced
from aasist_lib.explain.attribution import BASELINES
from aasist_lib.explain.faithfulness import (
    BOTH,
    area_table,
    best_map,
    deletion_insertion,
    localisation,
    localisation_table,
    verdicts,
)
from aasist_lib.models.checkpoints import load_model
from aasist_lib.runtime.run_folder import RunFolder
from demo_corpus.partial import KINDS, build_partial


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, nargs="+", default=[Path("runs/demo")], help="run folders with a trained detector")
    parser.add_argument("--clips", type=int, default=60, help="number of recordings from dev and from eval, three clips each")
    parser.add_argument("--deletion-clips", type=int, default=32, help="eval clips for deletion and insertion")
    parser.add_argument("--data-root", type=Path, help="folder of the corpus, if it differs from the profile's")
    options = parser.parse_args()
    measured = [measure(run, options) for run in options.runs]
    rows = pd.concat([part["rows"].assign(run=name.name) for part, name in zip(measured, options.runs, strict=True)])
    chosen = [part["best"] for part in measured]
    print(localisation_markdown(rows[rows["attacks"] == "known"]), end="\n\n")
    print(deletion_markdown(rows[(rows["attacks"] == "known") & (rows["kind"] == BOTH)]), end="\n\n")
    for attacks in ("known", "unseen"):
        print(chosen_line(rows[rows["attacks"] == attacks], chosen, attacks))
    facts = {"runs": [str(run) for run in options.runs], "recordings": options.clips, "chosen_on_dev": chosen}
    print(json.dumps(facts | {"deletion_clips": options.deletion_clips, "maps": per_map(rows)}))


def per_map(rows: pd.DataFrame) -> dict[str, dict]:
    """Return for each map one value per run: AUC by attacks and kind, verdict, and gains of deletion and insertion."""
    found: dict[str, dict] = {}
    for (name, attacks, kind), part in rows.groupby(["map", "attacks", "kind"], sort=False):
        entry = found.setdefault(name, {"auc": {}})
        entry["auc"][f"{attacks}: {kind}"] = part["auc"].round(4).tolist()
        if (attacks, kind) == ("known", BOTH):
            entry |= {key: part[key].round(4).tolist() for key in ("hits", "chance", "deletion", "insertion")}
            entry["believed"] = part["believed"].fillna("baseline").tolist()
    return found


def measure(folder: Path, options: argparse.Namespace) -> dict:
    """Measure one run. Returns `rows` of the eval table with verdicts and areas, and `best`, the map chosen on dev."""
    began = time.perf_counter()
    profile = Profile.model_validate(RunFolder(folder).manifest["config"])
    data = profile.data.model_copy(update={"root": options.data_root or profile.data.root})
    model, facts = load_model(folder / "checkpoints" / "best")
    tables = {}
    for split in ("dev", "eval"):
        partial = build_partial(data, split, options.clips, model.config.samples, say=to_stderr)
        tables[split] = localisation_table(localisation(model, partial))
    trials = load_trials(data)
    known = set(trials.loc[trials["split"] == "train", "attack"])
    tested = balanced(trials[trials["split"] == "eval"], options.deletion_clips, seed=0, attacks=known)
    areas = area_table(deletion_insertion(model, tested, facts["dev_threshold"]))
    gains = areas.pivot(index="map", columns="curve", values="gain").reset_index()
    said = verdicts(tables["eval"], areas)
    for row in said.itertuples():
        to_stderr(f"{folder.name}: {row.map}: {row.verdict}")
    to_stderr(f"{folder.name}: {time.perf_counter() - began:.0f} s")
    rows = tables["eval"].merge(gains, on="map", how="left").merge(said[["map", "believed"]], on="map", how="left")
    return {"rows": rows, "best": best_map(tables["dev"])}


def to_stderr(line: str) -> None:
    """Print progress to stderr, separate from the result."""
    print(line, file=sys.stderr, flush=True)


def localisation_markdown(rows: pd.DataFrame) -> str:
    """Return a Markdown table with one row per map: AUC by kind, pointing game, and the verdict in each run."""
    heads = [
        "map",
        "AUC, both directions",
        *(f"AUC, {kind}" for kind in KINDS),
        "pointing game (chance)",
        "better than chance, per training",
    ]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, part in rows.groupby("map", sort=False):
        cells = [name.replace("_", " ")]
        cells += [spread(part.loc[part["kind"] == kind, "auc"]) for kind in (BOTH, *KINDS)]
        both = part[part["kind"] == BOTH]
        cells.append(f"{spread(100 * both['hits'], 0)} % ({100 * both['chance'].mean():.0f} %)")
        cells.append("baseline" if name in BASELINES else ", ".join(both["believed"]))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def deletion_markdown(rows: pd.DataFrame) -> str:
    """Return a Markdown table with one row per map: the gain of its order over the random one, in the score's units."""
    lines = ["| map | deletion, better than random by | insertion, better than random by |", "|---|---|---|"]
    for name, part in rows[rows["map"] != "random"].groupby("map", sort=False):
        lines.append(f"| {name.replace('_', ' ')} | {spread(part['deletion'], 3)} | {spread(part['insertion'], 3)} |")
    return "\n".join(lines)


def chosen_line(rows: pd.DataFrame, chosen: list[str], attacks: str) -> str:
    """Return a line with the AUC of the map chosen on dev, in each direction."""
    parts = []
    for kind in (BOTH, *KINDS):
        own = [part.loc[part["map"] == name, "auc"] for (_, part), name in zip(by_run(rows, kind), chosen, strict=True)]
        parts.append(f"{kind} {spread(pd.concat(own))}")
    said = f"chosen on dev ({', '.join(chosen)}), eval, {attacks} attacks, {rows['clips'].max()} recordings, AUC: "
    return said + "; ".join(parts)


def by_run(rows: pd.DataFrame, kind: str) -> list[tuple[str, pd.DataFrame]]:
    """Return the rows of a kind for each run, in the given order."""
    return list(rows[rows["kind"] == kind].groupby("run", sort=False))


def spread(values: pd.Series, digits: int = 2) -> str:
    """Format mean and standard deviation; the latter only if there is more than one value."""
    mean = f"{values.mean():.{digits}f}".replace("-", "−")
    return f"{mean} ± {values.std():.{digits}f}" if len(values) > 1 else mean


if __name__ == "__main__":
    main()
