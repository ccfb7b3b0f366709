"""Measure the metrics at the size of ASVspoof 5's eval split (680 774 scores), or compare them with reference values.

    OMP_NUM_THREADS=1 python benchmarks/metrics.py
    python benchmarks/metrics.py --parity --reference DIR

Without `--parity`: CPU seconds of EER, minDCF, actDCF and Cllr as computed by this library, and in a plain form (each metric
separately, minDCF in a Python loop over thresholds). Both must be equal. Then CPU seconds of 1000 bootstrap replicates of EER
and minDCF, over trials and over speakers. With `--parity`: a Markdown table of this library's values, those of the organisers'
code, and the published ones. The real files are read from DIR/asvspoof2019_la (see docs/metrics.md). The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from aasist_lib import metrics
from aasist_lib.corpora.protocols import read_key
from aasist_lib.evaluation.asv import read_asv
from aasist_lib.evaluation.matching import join
from aasist_lib.evaluation.score_files import read_scores

ROOT = Path(__file__).resolve().parents[1]
SIZES = 138_688, 542_086  # bona fide and spoof trials of the eval split of ASVspoof 5, track 1
SPEAKERS = 737  # speakers in that split
NAMES = ("eer", "eer_threshold", "min_dcf", "act_dcf", "cllr")
# Results on ASVspoof 2019 LA published by the authors of RawGAT-ST (mul).
PUBLISHED = {"eer": "1.06 %", "min t-DCF 2019": "0.0335"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parity", action="store_true", help="compare values instead of measuring time")
    parser.add_argument("--reference", type=Path, metavar="DIR", help="folder that contains asvspoof2019_la/")
    parser.add_argument("--replicates", type=int, default=1000)
    options = parser.parse_args()
    print(json.dumps(parity(options.reference) if options.parity else speed(options.replicates)))


def speed(replicates: int) -> dict[str, float]:
    """Return CPU seconds: the median of several runs for the metrics, one run for the bootstrap."""
    rng = np.random.default_rng(13)
    bonafide, spoof = rng.normal(1.5, 1.2, SIZES[0]), rng.normal(-1.5, 1, SIZES[1])
    speakers = [rng.integers(0, SPEAKERS, size) for size in SIZES]
    ours, found = timed(lambda: metrics.summarise(bonafide, spoof), 9)
    plain, expected = timed(lambda: plain_form(bonafide, spoof), 3)
    worst = max(abs(found[name] - expected[name]) for name in NAMES)
    assert worst <= 1e-12, f"the two forms differ by {worst}: {found} and {expected}"
    trials, _ = timed(lambda: metrics.bootstrap(bonafide, spoof, replicates), 1)
    groups = {"bonafide_groups": speakers[0], "spoof_groups": speakers[1]}
    grouped, _ = timed(lambda: metrics.bootstrap(bonafide, spoof, replicates, **groups), 1)
    return {
        "scores": sum(SIZES),
        "metrics_cpu_s": round(ours, 4),
        "plain_form_cpu_s": round(plain, 4),
        "ratio": round(plain / ours, 1),
        "largest_difference": worst,
        "bootstrap_replicates": replicates,
        "bootstrap_trials_cpu_s": round(trials, 2),
        "bootstrap_speakers_cpu_s": round(grouped, 2),
    }


def timed(call: Callable[[], Any], runs: int) -> tuple[float, Any]:
    """Return the median CPU seconds of a call, and its result. Other programs hardly affect CPU time."""
    seconds = []
    for _ in range(runs):
        start = time.process_time()
        result = call()
        seconds.append(time.process_time() - start)
    return float(np.median(seconds)), result


def plain_form(bonafide: np.ndarray, spoof: np.ndarray) -> dict[str, float]:
    """Compute the metrics as common scripts do: rates by sorting, again for each metric, and a loop for minDCF."""
    frr, far, thresholds = sorted_rates(bonafide, spoof)
    nearest = np.argmin(np.abs(frr - far))
    frr_again, far_again, _ = sorted_rates(bonafide, spoof)
    least = float("inf")
    for miss, false_alarm in zip(frr_again, far_again, strict=True):
        cost = 0.95 * miss + 10 * 0.05 * false_alarm
        if cost < least:
            least = cost
    bayes = -np.log(0.95 / (10 * 0.05))
    actual = 0.95 * np.mean(bonafide < bayes) + 10 * 0.05 * np.mean(spoof >= bayes)
    surprise = np.mean(np.log1p(np.exp(-bonafide))) + np.mean(np.log1p(np.exp(spoof)))
    eer = (frr[nearest] + far[nearest]) / 2
    return dict(zip(NAMES, (eer, thresholds[nearest], least / 0.5, actual / 0.5, surprise / (2 * np.log(2))), strict=True))


def sorted_rates(bonafide: np.ndarray, spoof: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rates at every score by one stable sort; at equal scores, bona fide comes first."""
    scores = np.concatenate((bonafide, spoof))
    order = np.argsort(scores, kind="stable")
    missed = np.cumsum(order < bonafide.size)
    accepted = spoof.size - (np.arange(1, scores.size + 1) - missed)
    thresholds = np.concatenate(([scores[order[0]] - 0.001], scores[order]))
    return np.append(0, missed / bonafide.size), np.append(1, accepted / spoof.size), thresholds


def parity(reference: Path | None) -> dict[str, float | bool]:
    """Print the table, with real values rounded to the digits of the reference, and return how well the values agree."""
    sys.path.append(str(ROOT))  # the values of the organisers' code are constants in the tests
    print("| scores | metric | this library | organisers' code | published |\n|---|---|---|---|---|")
    differences = []
    for case, metric, ours, organisers in seeded_values():
        print(f"| {case} | {metric} | {ours:.12f} | {organisers:.12f} | – |")
        differences.append(abs(ours - organisers))
    found: dict[str, float | bool] = {"seeded_values": len(differences), "largest_difference": max(differences)}
    if reference is None:
        return found
    equal = []
    for case, metric, ours, organisers in real_values(reference / "asvspoof2019_la"):
        printed = str(organisers)
        shown = f"{ours:.{len(printed.partition('.')[2])}f}"
        print(f"| {case} | {metric} | {shown} | {printed} | {PUBLISHED.get(metric, '–')} |")
        equal.append(shown == printed)
    return found | {"real_values": len(equal), "equal_to_the_printed_digits": all(equal)}


def seeded_values() -> Iterable[tuple[str, str, float, float]]:
    """Yield values on seeded random scores, with those of the organisers' code."""
    from tests.metrics.conftest import draw, draw_asv
    from tests.metrics.test_golden import A_DCF, ASV, CM, TDCF

    for case, (_, *expected) in CM.items():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*at the EER threshold")
            found = metrics.summarise(*draw(case))
        yield from ((case, name, found[name], value) for name, value in zip(NAMES, expected, strict=True))
    asv = draw_asv()
    rates = metrics.asv_error_rates(*asv)
    yield from (("speaker verifier", name, getattr(rates, name), value) for name, value in ASV.items())
    for form, value in TDCF.items():
        yield "tandem", f"min t-DCF {form}", metrics.min_tdcf(*draw("tandem"), rates, form), value
    for costs, value in zip((metrics.ASVSPOOF_COSTS, metrics.A_DCF_COSTS), A_DCF, strict=True):
        yield "speaker verifier", f"min a-DCF (c_fa_cm = {costs.c_fa_cm:g})", metrics.min_a_dcf(*asv, costs), value


def real_values(folder: Path) -> Iterable[tuple[str, str, float, float]]:
    """Yield values of a published system on ASVspoof 2019 LA, read as by `python -m aasist_lib evaluate`.

    The organisers' code has no min Cllr.
    """
    from tests.metrics.test_golden import REAL_ASV, REAL_CM, REAL_TDCF

    case = "RawGAT-ST, 2019 LA"
    names = ("cm_scores_rawgat_st_mul.txt.gz", "cm_protocol_eval.txt.gz", "asv_scores_eval.txt.gz")
    scores, key, asv = (folder / name for name in names)
    table = join(read_scores(scores), read_key(key), (str(scores), str(key)))
    classes = metrics.split_classes(table["label"], table["score"])
    rates, found = metrics.asv_error_rates(*read_asv(asv)), metrics.summarise(*classes)
    yield from ((case, f"ASV {name}", getattr(rates, name), value) for name, value in REAL_ASV.items())
    yield from ((case, name, found[name], value) for name, value in REAL_CM.items() if name != "min_cllr")
    for form, value in REAL_TDCF.items():
        yield case, f"min t-DCF {form}", metrics.min_tdcf(*classes, rates, form), value


if __name__ == "__main__":
    main()
