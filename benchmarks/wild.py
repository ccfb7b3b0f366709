"""Score a folder of labelled recordings from anywhere with a trained detector: does it hold outside its own corpus?

    python benchmarks/wild.py FOLDER [--checkpoint runs/demo/checkpoints/best] [--keep scores.csv]

FOLDER has a `manifest.csv` with the columns `path` (relative to the folder), `label` (bonafide or spoof), `source` (where the
clip is from) and `kind` (of system; any word for bona fide). Every clip is scored as by `python -m aasist_lib score`.

Prints Markdown tables, then one JSON line:

- EER and AUC of all scores; Cllr (bits) of the likelihood ratios; HTER at the detector's own threshold, and the share of clips
  it leaves undecided;
- wrong among confident: share of wrong answers among probabilities below 0.05 and above 0.95, at a prior of one half;
- pairs: a bona fide and a spoofed clip of the same source, by kind of spoof: how often the bona fide one has the higher score;
- facts: the EER of each trivial feature of the demo corpus' leak audit, in its better direction. A detector should do better.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from aasist_lib.audio import RATE, read
from aasist_lib.config import project_root
from aasist_lib.metrics import cllr, eer
from aasist_lib.scoring.detector import Detector, posterior
from aasist_lib.scoring.recordings import Recording, score_file
from demo_corpus.leaks import features

CONFIDENT = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=project_root() / "runs" / "demo" / "checkpoints" / "best")
    parser.add_argument("--keep", type=Path, help="write a CSV table with the clips' scores")
    parser.add_argument("--facts", action="store_true", help="also measure the trivial features")
    options = parser.parse_args()
    clips = read_manifest(options.folder)
    scored = score(clips, options.folder, Detector.load(options.checkpoint))
    if options.keep:
        scored.to_csv(options.keep, index=False)
    found = summary(scored)
    print("| clips | EER | AUC | Cllr | HTER | undecided | wrong among confident | spoof found | bona fide kept |")
    print("|---|---|---|---|---|---|---|---|---|")
    print(f"| all {len(scored)} | {' | '.join(_shown(key, value) for key, value in found.items())} |\n")
    kinds = by_kind(scored)
    print("| kind of spoof | clips | EER against all bona fide | pairs | ranked right |\n|---|---|---|---|---|")
    for row in kinds.itertuples():
        print(f"| {row.kind} | {row.clips} | {row.eer:.1%} | {row.pairs} | {row.right:.1%} |")
    sources = by_source(scored)
    print("\n| source | bona fide | spoof | EER | AUC |\n|---|---|---|---|---|")
    for row in sources.itertuples():
        print(f"| {row.source} | {row.bonafide} | {row.spoof} | {row.eer:.1%} | {row.auc:.2f} |")
    result = {"clips": len(scored), "all": found, "kinds": kinds.to_dict("records"), "sources": sources.to_dict("records")}
    if options.facts:
        result["facts"] = facts(clips, options.folder)
        print(f"\ntrivial features, EER: {', '.join(f'{name} {rate:.1%}' for name, rate in result['facts'].items())}")
    print(json.dumps(result))


def read_manifest(folder: Path) -> pd.DataFrame:
    """Read and check `manifest.csv`."""
    path = folder / "manifest.csv"
    if not path.is_file():
        raise SystemExit(f"{path}: not found; it needs the columns path, label, source and kind")
    clips = pd.read_csv(path, dtype=str, keep_default_na=False)
    if missing := {"path", "label", "source", "kind"} - set(clips.columns):
        raise SystemExit(f"{path}: lacks the columns {', '.join(sorted(missing))}")
    wrong = clips[~clips["label"].isin(["bonafide", "spoof"])]
    if len(wrong):
        raise SystemExit(f"{path}, line {wrong.index[0] + 2}: label '{wrong['label'].iloc[0]}' is neither bonafide nor spoof")
    if clips["label"].nunique() < 2:
        raise SystemExit(f"{path}: only {clips['label'].iloc[0]} clips; both classes are needed")
    return clips


def score(clips: pd.DataFrame, folder: Path, detector: Detector) -> pd.DataFrame:
    """Return the clips that could be scored, with `score`, `llr` (NaN without a decision) and `decision`; report the others."""
    rows = []
    with torch.inference_mode():
        for index, path in enumerate(clips["path"]):
            answer = score_file(detector, folder / path)[0]
            if not isinstance(answer, Recording):
                print(f"left out: {answer.path}: {answer.reason}", file=sys.stderr)
                continue
            llr = np.nan if answer.llr is None else answer.llr
            rows.append({"index": index, "score": answer.score, "llr": llr, "decision": answer.decision})
    return clips.join(pd.DataFrame(rows).set_index("index"), how="inner")


def summary(scored: pd.DataFrame) -> dict[str, float]:
    """Return the figures of the first table, as fractions; Cllr in bits, of the clips with a decision."""
    bonafide, decided = scored["label"] == "bonafide", scored["llr"].notna()
    sure = scored[decided].assign(p=posterior(scored.loc[decided, "llr"], 0.5))
    confident = sure[(sure["p"] < CONFIDENT) | (sure["p"] > 1 - CONFIDENT)]
    wrong = (confident["p"] > 0.5) != (confident["label"] == "bonafide")
    kept = (sure.loc[sure["label"] == "bonafide", "decision"] == "bonafide").mean()
    caught = (sure.loc[sure["label"] == "spoof", "decision"] == "spoof").mean()
    return {
        "eer": _eer(scored),
        "auc": float(roc_auc_score(bonafide, scored["score"])),
        "cllr": float(cllr(sure.loc[sure["label"] == "bonafide", "llr"], sure.loc[sure["label"] == "spoof", "llr"])),
        "hter": float(1 - (kept + caught) / 2),
        "undecided": float(1 - decided.mean()),
        "wrong_among_confident": float(wrong.mean()) if len(confident) else 0.0,
        "spoof_found": float(caught),
        "bonafide_kept": float(kept),
    }


def by_kind(scored: pd.DataFrame) -> pd.DataFrame:
    """Return for each kind of spoof its EER against all bona fide clips, and how often pairs of one source are ranked right."""
    people, rows = scored[scored["label"] == "bonafide"], []
    for kind, spoof in scored[scored["label"] == "spoof"].groupby("kind"):
        pairs = spoof.merge(people, on="source", suffixes=("_spoof", "_person"))
        right = (pairs["score_person"] > pairs["score_spoof"]).mean()
        rows.append(
            {"kind": kind, "clips": len(spoof), "eer": _eer(pd.concat([people, spoof])), "pairs": len(pairs), "right": right}
        )
    return pd.DataFrame(rows)


def by_source(scored: pd.DataFrame) -> pd.DataFrame:
    """Return EER and AUC of every source with both classes."""
    rows = []
    for source, part in scored.groupby("source"):
        bonafide = part["label"] == "bonafide"
        if 0 < bonafide.sum() < len(part):
            auc = roc_auc_score(bonafide, part["score"])
            counts = {"bonafide": int(bonafide.sum()), "spoof": int((~bonafide).sum())}
            rows.append({"source": source, **counts, "eer": _eer(part), "auc": float(auc)})
    return pd.DataFrame(rows, columns=["source", "bonafide", "spoof", "eer", "auc"])


def facts(clips: pd.DataFrame, folder: Path) -> dict[str, float]:
    """Return the EER of each trivial feature, in the direction in which it is lower."""
    with ThreadPoolExecutor() as pool:
        table = pd.DataFrame(list(pool.map(lambda path: features(read(folder / path, RATE)), clips["path"])))
    bonafide = (clips["label"] == "bonafide").to_numpy()
    rates = {name: eer(values[bonafide], values[~bonafide])[0] for name, values in table.items()}
    return {name: float(min(rate, 1 - rate)) for name, rate in rates.items()}


def _eer(part: pd.DataFrame) -> float:
    bonafide = part["label"] == "bonafide"
    return float(eer(part.loc[bonafide, "score"], part.loc[~bonafide, "score"])[0])


def _shown(key: str, value: float) -> str:
    return f"{value:.2f}" if key in ("auc", "cllr") else f"{value:.1%}"


if __name__ == "__main__":
    main()
