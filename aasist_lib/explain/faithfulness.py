"""Two tests of whether a map over a clip is faithful: localisation, and deletion and insertion.

*Localisation* uses partly spoofed clips whose spoofed segments are known (`demo_corpus.partial`). It measures whether the map
ranks spoofed frames above the others (ROC AUC, chance 0.5), and whether the map's maximum is on a spoofed frame (pointing game,
Zhang et al. 2018, arXiv 1608.00507; chance is the share of spoofed frames). Each clip has a control with a segment at the same
place but nothing spoofed. The control shows how much the map responds to the words in the segment and to its joints.

*Deletion and insertion* (Petsiuk et al. 2018, arXiv 1806.07421): frames are replaced by the clip's mean frame in the order of
the map, or restored in that order. If the map shows what the decision depends on, the support for the decision falls, or rises,
faster than in random order.

Conclusions. If the localisation of a map is better than control and baselines, interval included, the map points at spoofed
speech *of these attacks, spliced in this way*. A map that is good only at deletion and insertion shows what this detector uses,
which need not be what is spoofed. A map that is good at neither shows nothing about the clip, however plausible it looks.

Limits. The intervals are over recordings of few speakers, so the variation over other speakers may be larger. Replaced frames
are not real speech. Part of a fall in support may come from this mismatch, which is why maps are compared with a random order:
it has the same mismatch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import soundfile
import torch
from sklearn.metrics import roc_auc_score

from aasist_lib import audio
from aasist_lib.audio import RATE
from aasist_lib.explain.attribution import BASELINES, FRAME_SECONDS, MAPS, SIGNED, frame_maps, hear, mean_frames, spoofness
from aasist_lib.metrics import Interval
from aasist_lib.models import AASIST

BOTH = "both"
"""Kind of the rows that average a recording's two partly spoofed clips: spoofed inside, and spoofed outside the segment."""
SPOOF_INSIDE, SPOOF_AROUND, CONTROL = "spoof in bona fide", "bona fide in spoof", "control"
SHARES = 10
"""Number of steps of deletion and insertion, from 0 to 100 % of the frames."""
CLEAR = 0.7
"""The AUC from which a verdict is 'yes' instead of 'weakly'. The value is a convention."""
JOINT_SECONDS = 0.01
"""Length of the cross-fades. Frames that touch one are labelled neither spoofed nor not spoofed."""
_BATCH = 16


def frame_truth(kind: str, start: float, end: float, length: int, samples: int) -> np.ndarray:
    """Return the label of each 20 ms frame, `(frames,)`: 1 spoofed (in a control: inserted), 0 not, -1 at a cross-fade.

    Args:
        kind: kind of the clip.
        start, end: edges of the inserted segment, in seconds.
        length: length of the clip, in samples.
        samples: length of the detector's input; a shorter clip is repeated, and so are its labels.
    """
    labels, half = np.zeros(length, dtype=np.int8), JOINT_SECONDS * RATE / 2
    labels[round(start * RATE) : round(end * RATE)] = 1
    if kind == SPOOF_AROUND:
        labels = 1 - labels
    for joint in (start * RATE, end * RATE):
        labels[max(round(joint - half), 0) : round(joint + half)] = -1
    size = round(FRAME_SECONDS * RATE)
    frames = audio.fit(labels, samples)[: samples // size * size].reshape(-1, size)
    return np.where((frames == frames[:, :1]).all(axis=1), frames[:, 0], -1)


def spoofed_stretches(clip: pd.Series, samples: int) -> list[tuple[float, float]]:
    """Return the start and end of each spoofed segment in the detector's input for a partly spoofed clip, in seconds.

    Args:
        clip: a row of `build_partial`'s table.
        samples: length of the detector's input; a shorter clip is repeated, and so are its segments.
    """
    length, total = soundfile.info(clip["path"]).duration, samples / RATE
    inside = {SPOOF_INSIDE: [(clip["start"], clip["end"])], SPOOF_AROUND: [(0.0, clip["start"]), (clip["end"], length)]}
    begins = np.arange(0, total, length)
    stretches = [(begin + start, begin + end) for begin in begins for start, end in inside.get(clip["kind"], [])]
    return [(float(start), float(min(end, total))) for start, end in stretches if start < total]


def localisation(model: AASIST, partial: pd.DataFrame, names: Sequence[str] | None = None, seed: int = 0) -> pd.DataFrame:
    """Measure how well each map finds the spoofed frames of each clip.

    Args:
        model: a trained detector.
        partial: the table of `build_partial`, or one with `utt_id, path, split, recording, attacks, kind, start, end`.
        names: names from `MAPS`; None = all.
        seed: seed of the map 'random'.

    Returns:
        one row per clip and map: `utt_id, recording, split, attacks, kind, map`, `auc`, `hit` (1: the maximum is on a
        spoofed frame; for equal maxima, the share of them that are), `chance` (share of spoofed frames). In a control, the
        inserted frames count as spoofed.

    Raises:
        ValueError: a clip has no frame inside or no frame outside its segment.
    """
    waves, truths = _waves_and_truths(partial, model.config.samples)
    found = frame_maps(model, waves, names, seed)
    rows = []
    for number, (clip, truth) in enumerate(zip(partial.itertuples(), truths, strict=True)):
        known = truth >= 0
        facts = {key: getattr(clip, key) for key in ("utt_id", "recording", "split", "attacks", "kind")}
        spoofed = truth[known]
        for name, maps in found.items():
            values = maps[number][known]
            hit = float(spoofed[values == values.max()].mean())
            auc = float(roc_auc_score(spoofed, values))
            rows.append(facts | {"map": name, "auc": auc, "hit": hit, "chance": float(spoofed.mean())})
    return pd.DataFrame(rows)


def _waves_and_truths(partial: pd.DataFrame, samples: int) -> tuple[np.ndarray, list[np.ndarray]]:
    waves, truths = [], []
    for clip in partial.itertuples():
        wave = audio.read(clip.path)
        truth = frame_truth(clip.kind, clip.start, clip.end, len(wave), samples)
        if not {0, 1} <= set(truth.tolist()):
            raise ValueError(f"{clip.utt_id}: no frames inside or none outside its segment, {clip.start:.2f}-{clip.end:.2f} s")
        waves.append(audio.fit(wave, samples))
        truths.append(truth)
    return np.stack(waves), truths


def localisation_table(clips: pd.DataFrame, replicates: int = 1000, confidence: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Average the rows of `localisation` over clips, with percentile intervals of a bootstrap over recordings.

    Returns:
        one row per split, group of attacks, kind (and `BOTH`) and map: `clips`, `auc`, `hits` (pointing game), `gain` (AUC
        minus the AUC expected from the recording's control; 0 for a map that only responds to the words or the joints),
        `over_energy` (AUC minus that of the map 'energy'), each with `_low` and `_high`, and `chance` of the pointing game.
        `over_energy` is NaN if the map 'energy' was not measured.

    Raises:
        ValueError: a recording lacks a clip of one of the kinds.
    """
    clips = _with_expected(clips)
    clips["gain"] = clips["auc"] - clips["expected"]
    whose = ["split", "attacks", "kind", "recording"]
    energy = clips[clips["map"] == "energy"].set_index(whose)["auc"]
    clips["over_energy"] = clips["auc"] - energy.reindex(pd.MultiIndex.from_frame(clips[whose])).to_numpy()
    clips = clips.rename(columns={"hit": "hits"})
    rows = []
    for (split, attacks, kind, name), part in clips.groupby(["split", "attacks", "kind", "map"], sort=False):
        row = {"split": split, "attacks": attacks, "kind": kind, "map": name, "clips": len(part)}
        for column in ("auc", "hits", "gain", "over_energy"):
            row |= _spread(column, mean_interval(part[column].to_numpy(), replicates, confidence, seed))
        rows.append(row | {"chance": part["chance"].mean()})
    return pd.DataFrame(rows)


def _with_expected(clips: pd.DataFrame) -> pd.DataFrame:
    """Add rows of kind `BOTH`, and the AUC expected from the control: its own, or 1 minus it if all else is spoofed."""
    whose = ["split", "attacks", "recording", "map"]
    kinds = clips.groupby("recording")["kind"].agg(set)
    if (lacking := kinds[[not {SPOOF_INSIDE, SPOOF_AROUND, CONTROL} <= found for found in kinds]]).size:
        have = ", ".join(sorted(lacking.iloc[0]))
        raise ValueError(f"recording {lacking.index[0]} has clips of kind {have} only: pass all three kinds of each recording")
    control = clips[clips["kind"] == CONTROL].set_index(whose)["auc"]
    own = control.reindex(pd.MultiIndex.from_frame(clips[whose])).to_numpy()
    expected = np.select([clips["kind"] == SPOOF_INSIDE, clips["kind"] == SPOOF_AROUND], [own, 1 - own], 0.5)
    clips = clips.assign(expected=expected)
    partly = clips[clips["kind"].isin([SPOOF_INSIDE, SPOOF_AROUND])]
    both = partly.groupby(whose, sort=False)[["auc", "hit", "chance", "expected"]].mean().reset_index()
    return pd.concat([clips, both.assign(kind=BOTH)], ignore_index=True)


def mean_interval(values: np.ndarray, replicates: int = 1000, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Return the mean of `values (n,)` with its percentile bootstrap interval.

    Calls with equal n and seed draw the same samples, so that their differences are paired.
    """
    drawn = np.random.default_rng(seed).integers(0, len(values), (replicates, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def _spread(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def best_map(table: pd.DataFrame, attacks: str = "known") -> str:
    """Return the name of the map with the highest localisation AUC over both directions on **dev**, baselines excluded.

    Args:
        table: a table of `localisation_table`, with the rows of dev only.
        attacks: the group of attacks that counts.

    Raises:
        ValueError: the table has rows of another split, or no row of a map.
    """
    if others := sorted(set(table["split"]) - {"dev"}):
        raise ValueError(f"the map is chosen on dev, but the table has rows of {', '.join(others)}: pass the rows of dev only")
    rows = table[(table["kind"] == BOTH) & (table["attacks"] == attacks) & ~table["map"].isin(BASELINES)]
    if rows.empty:
        raise ValueError(f"the table has no map with attacks '{attacks}' in both directions")
    return str(rows.loc[rows["auc"].idxmax(), "map"])


def localise(model: AASIST, wave: np.ndarray, name: str) -> np.ndarray:
    """Return a localisation score for each 20 ms of a clip, `(frames,)`; higher = more likely spoofed.

    Args:
        model: a trained detector.
        wave: `(samples,)` at 16 kHz, with the detector's input length.
        name: a name from `MAPS`, usually the one returned by `best_map`.
    """
    return frame_maps(model, np.asarray(wave)[None], [name])[name][0]


def deletion_insertion(
    model: AASIST, trials: pd.DataFrame, threshold: float, names: Sequence[str] | None = None, seed: int = 0
) -> pd.DataFrame:
    """Measure the support for each clip's decision while frames are left out, or restored, in the order of each map.

    Args:
        model: a trained detector.
        trials: `utt_id` and `path` of the clips.
        threshold: decision threshold from dev; a score above it is bona fide. Support is the score's distance from the
            threshold in the direction of the decision on the whole clip. The whole clip has a support of 0 or above; below 0
            the decision has changed.
        names: names from `MAPS`; None = all. 'random' is always added.
        seed: seed of the random order, and of the order of frames with equal values.

    Returns:
        one row per clip, map, curve ('deletion', 'insertion') and share of frames left out or restored (0, 0.1, ..., 1), with
        `support` in the score's units.
    """
    names = list(dict.fromkeys([*(MAPS if names is None else names), "random"]))
    waves = np.stack([audio.fit(audio.read(path), model.config.samples) for path in trials["path"]])
    found = frame_maps(model, waves, names, seed)
    rng, shares, parts = np.random.default_rng(seed), np.linspace(0, 1, SHARES + 1), []
    for first in range(0, len(waves), _BATCH):
        some = slice(first, first + _BATCH)
        heard = hear(model, torch.as_tensor(waves[some], dtype=torch.float32, device=model.device))[1]
        with torch.inference_mode():
            decided = np.where(-_plain(spoofness(model, heard)) > threshold, 1, -1)
        for name in names:
            values = found[name][some] * (-decided[:, None] if name in SIGNED else 1)
            ranks = _ranks(_at_frames(values, heard.shape[1], model.frontend.stride), rng)
            for curve, scores in _curves(model, heard, ranks, shares).items():
                table = pd.DataFrame(decided[:, None] * (scores - threshold), columns=shares).assign(
                    utt_id=trials["utt_id"].to_numpy()[some], map=name, curve=curve
                )
                parts.append(table.melt(["utt_id", "map", "curve"], var_name="share", value_name="support"))
    return pd.concat(parts, ignore_index=True)


def _at_frames(values: np.ndarray, count: int, stride: int) -> np.ndarray:
    """Resample values from 20 ms frames `(batch, frames)` to `count` front-end frames, one every `stride` samples."""
    places = (np.arange(count) + 0.5) * stride / RATE / FRAME_SECONDS
    return values[:, np.minimum(places.astype(int), values.shape[1] - 1)]


def _ranks(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the rank of each value in its row, 0 for the largest; equal values are ranked in random order."""
    order = np.lexsort((rng.random(values.shape), -values), axis=1)
    return np.argsort(order, axis=1)


@torch.inference_mode()
def _curves(model: AASIST, heard: torch.Tensor, ranks: np.ndarray, shares: np.ndarray) -> dict[str, np.ndarray]:
    """Return scores `(batch, shares)` with the first ranked frames left out (deletion), or only these kept (insertion)."""
    mean, ranked = mean_frames(heard), torch.from_numpy(ranks).to(heard.device)[..., None]
    whole, nothing = (-_plain(spoofness(model, frames)) for frames in (heard, mean))
    scores = {"deletion": [whole], "insertion": [nothing]}
    for count in np.round(shares[1:-1] * heard.shape[1]):
        first = ranked < count
        scores["deletion"].append(-_plain(spoofness(model, torch.where(first, mean, heard))))
        scores["insertion"].append(-_plain(spoofness(model, torch.where(first, heard, mean))))
    scores["deletion"].append(nothing)
    scores["insertion"].append(whole)
    return {curve: np.stack(steps, axis=1) for curve, steps in scores.items()}


def area_table(clips: pd.DataFrame, replicates: int = 1000, confidence: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Return the area under each curve of `deletion_insertion` (mean support over all shares), with intervals over clips.

    Returns:
        one row per map and curve: `clips`, `area`, and `gain`, the amount by which the map's order is better than the random
        order on the same clips (deletion: lower, insertion: higher). `area` and `gain` have percentile intervals, `_low` and
        `_high`.
    """
    areas = clips.groupby(["curve", "utt_id", "map"], sort=False)["support"].agg(_area).unstack("map")
    rows = []
    for name, curve in clips[["map", "curve"]].drop_duplicates().itertuples(index=False):
        area, random = areas.loc[curve, name].to_numpy(), areas.loc[curve, "random"].to_numpy()
        gain = (area - random) * (-1 if curve == "deletion" else 1)
        row = {"map": name, "curve": curve, "clips": len(area)}
        for column, values in (("area", area), ("gain", gain)):
            row |= _spread(column, mean_interval(values, replicates, confidence, seed))
        rows.append(row)
    return pd.DataFrame(rows)


def _area(support: pd.Series) -> float:
    """Integrate over shares from 0 to 1 by the trapezoidal rule; rows are in the order of the shares."""
    values = support.to_numpy()
    return float(np.trapezoid(values, dx=1 / (len(values) - 1)))


def verdicts(table: pd.DataFrame, areas: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return a verdict of one or two sentences for each map except the baselines.

    Args:
        table: a table of `localisation_table` for one split; only the rows of known attacks are used.
        areas: a table of `area_table` with the same maps; None = nothing is said about deletion and insertion.

    Returns:
        `map`, `believed` (whether the map may be read as "here is spoofed speech") and `verdict`. 'yes' and 'weakly' require
        that the interval of the AUC over both directions is above chance and above energy, and that in each direction the
        AUC is above the control. 'weakly' means an AUC below `CLEAR`. Everything else is 'no'.

    Raises:
        ValueError: the table has rows of several splits, no rows of known attacks in both directions, or no map 'energy'.
    """
    if len(splits := set(table["split"])) != 1:
        raise ValueError(f"the table has rows of {', '.join(sorted(splits)) or 'no split'}: pass the rows of one split")
    rows = table[(table["attacks"] == "known") & ~table["map"].isin(BASELINES)].set_index(["map", "kind"])
    names = [name for name, kind in rows.index if kind == BOTH]
    if not names:
        raise ValueError("the table has no rows of known attacks in both directions")
    if rows["over_energy"].isna().any():
        raise ValueError("the table has no map 'energy' to compare with: add it to the names passed to `localisation`")
    found = []
    for name in names:
        believed, sentence = _on_localisation(*(rows.loc[(name, kind)] for kind in (BOTH, SPOOF_INSIDE, SPOOF_AROUND)))
        if areas is not None:
            sentence += " " + _on_areas(areas[areas["map"] == name].set_index("curve"))
        found.append({"map": name, "believed": believed, "verdict": sentence})
    return pd.DataFrame(found)


def _on_localisation(both: pd.Series, inside: pd.Series, around: pd.Series) -> tuple[str, str]:
    auc = f"AUC {_with_interval(both, 'auc')} over both directions"
    over_energy = f"{_with_interval(both, 'over_energy', '+')} against energy"
    fails = [f"in '{row.name[1]}' ({_with_interval(row, 'gain', '+')})" for row in (inside, around) if row["gain_low"] <= 0]
    if both["auc_high"] < 0.5:
        return "no", f"Points away from spoofed speech: {auc}."
    if inside["gain_low"] > 0 and around["gain_high"] < 0:
        return "no", f"Marks the inserted segment whether it is spoofed or not: {auc}."
    if both["auc_low"] <= 0.5:
        return "no", f"Does not find spoofed speech: {auc}, and the interval includes chance."
    if both["over_energy_low"] <= 0:
        return "no", f"Above chance, but not better than the frame's energy: {auc}, {over_energy}."
    if fails:
        return "no", f"Above chance, but not reliable: {auc}; not better than its control {' and '.join(fails)}."
    if both["auc"] < CLEAR:
        return "weakly", f"Points at spoofed speech, but too weakly to interpret a single clip: {auc}."
    return "yes", f"Points at spoofed speech: {auc}, and better than its control in each direction."


def _on_areas(areas: pd.DataFrame) -> str:
    gains = f"deletion {_with_interval(areas.loc['deletion'], 'gain', '+')}, insertion " + _with_interval(
        areas.loc["insertion"], "gain", "+"
    )
    better = [curve for curve in ("deletion", "insertion") if areas.loc[curve, "gain_low"] > 0]
    if len(better) == 2:
        return f"It shows what the decision depends on: better than a random order ({gains})."
    if better:
        return f"It partly shows what the decision depends on: better than a random order in {better[0]} only ({gains})."
    return f"It does not show what the decision depends on: not better than a random order ({gains})."


def _with_interval(row: pd.Series, name: str, sign: str = "") -> str:
    value, low, high = (format(row[key], f"{sign}.2f").replace("-", "−") for key in (name, f"{name}_low", f"{name}_high"))
    return f"{value} ({low} to {high})"


def _plain(values: torch.Tensor) -> np.ndarray:
    return values.double().cpu().numpy()
