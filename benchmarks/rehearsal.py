"""Run the whole workflow on a synthetic corpus in the format of ASVspoof 5, and measure time and memory of each step.

    OMP_NUM_THREADS=1 python benchmarks/rehearsal.py --table docs/scaling.csv --figure docs/images/scaling.png
    python benchmarks/rehearsal.py --only-tree FOLDER --trials 1004081

The corpus (the "tree") has the splits, class proportions and speakers of ASVspoof 5 track 1, scaled to any number of trials.
Attacks and codecs are drawn uniformly. The audio is a few recordings of the demo corpus, or noise and tones if it is missing,
reused through hard links. The workflow consists of the commands prepare, features, train (one epoch), score and evaluate, each
in its own process, with a tiny random wav2vec 2.0. The last line is JSON.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import soundfile
import yaml
from matplotlib.figure import Figure

from aasist_lib.audio import RATE
from aasist_lib.config import DataConfig
from aasist_lib.corpora import load_trials
from aasist_lib.corpora.protocols import read_key
from aasist_lib.metrics import eer
from aasist_lib.plots.style import GREY, PALETTE, make_figure, styled
from aasist_lib.runtime.files import atomic

PROJECT = Path(__file__).resolve().parents[1]
DEMO = PROJECT / "data" / "demo"
STEPS = ("prepare", "features", "train", "score", "evaluate")
SAMPLES = 8_000
"""Length of a crop: half a second at 16 kHz, 24 frames."""


class RehearsalError(ValueError):
    """The rehearsal cannot run; the message says why and how to fix it."""


# ---- the tree --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Split:
    """A split of ASVspoof 5 track 1 (Wang et al., arXiv 2502.08857): file names, numbers of utterances per class and of
    speakers, the first and last attack, and whether codecs are applied."""

    folder: str
    protocol: str
    bonafide: int
    spoof: int
    speakers: int
    attacks: tuple[int, int]
    coded: bool = False


SPLITS = {
    "train": Split("flac_T", "ASVspoof5.train.tsv", 18_797, 163_560, 400, (1, 8)),
    "dev": Split("flac_D", "ASVspoof5.dev.track_1.tsv", 31_334, 109_616, 785, (9, 16)),
    "eval": Split("flac_E_eval", "ASVspoof5.eval.track_1.tsv", 138_688, 542_086, 737, (17, 32), coded=True),
}
REAL = sum(split.bonafide + split.spoof for split in SPLITS.values())
FEWEST = 20


def make_tree(root: Path, trials: int, speech: Path | None = None, distinct: int = 32, seed: int = 0) -> dict[str, dict]:
    """Create a corpus in the format of ASVspoof 5 track 1.

    Args:
        root: the new folder.
        trials: number of trials in all splits; the shares of splits and classes are those of the real corpus.
        speech: folder of the demo corpus, whose recordings are used; None for noise (bona fide) and tones (spoof).
        distinct: number of recordings per class and split; all other files are hard links to them.
        seed: seed for speakers, attacks and codecs.

    Returns:
        split -> label -> number of trials.

    Raises:
        RehearsalError: there are fewer than 20 trials, `root` exists, or its file system has no hard links.
    """
    if root.exists():
        raise RehearsalError(f"{root}: exists already; remove it, or choose another folder")
    counts, rng = class_counts(trials), np.random.default_rng(seed)
    for name, split in SPLITS.items():
        (root / split.folder).mkdir(parents=True)
        lines, labels = _protocol(name, split, counts[name], rng)
        sources = {label: _recordings(root, name, label, speech, distinct, rng) for label in counts[name]}
        for row, (line, label) in enumerate(zip(lines, labels, strict=True)):
            link(sources[label], row % len(sources[label]), root / split.folder / f"{line.split(' ', 2)[1]}.flac")
        with atomic(root / split.protocol) as file:
            file.write_text("\n".join(lines) + "\n")
    return counts


def class_counts(trials: int) -> dict[str, dict[str, int]]:
    """Divide trials in the proportions of ASVspoof 5, split -> label -> count. Every count is at least 1.

    The counts sum to `trials`.

    Raises:
        RehearsalError: there are fewer than 20 trials.
    """
    if trials < FEWEST:
        raise RehearsalError(f"{trials} trials are too few for both classes in every split; use at least {FEWEST}")
    scale = trials / REAL
    counts = {
        name: {"bonafide": max(1, round(scale * split.bonafide)), "spoof": max(1, round(scale * split.spoof))}
        for name, split in SPLITS.items()
    }
    counts["eval"]["spoof"] += trials - sum(sum(count.values()) for count in counts.values())
    return counts


def _protocol(name: str, split: Split, count: dict[str, int], rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """Return the lines of a protocol, and the label of each line."""
    letter, total = name[0].upper(), sum(count.values())
    spoof = rng.permutation(np.arange(total) >= count["bonafide"])
    speakers = rng.integers(split.speakers, size=total)
    attacks = rng.integers(split.attacks[0], split.attacks[1], size=total, endpoint=True)
    codecs = rng.integers(12, size=total) if split.coded else np.zeros(total, dtype=int)
    lines = []
    for row in range(total):
        codec = f"C{codecs[row]:02d} {1 + row % 5} {letter}_{total + row:010d}" if codecs[row] else "- - -"
        key = f"AC{1 + row % 3} A{attacks[row]:02d} spoof" if spoof[row] else "- bonafide bonafide"
        speaker = speakers[row]
        lines.append(f"{letter}_{speaker:04d} {letter}_{row:010d} {'FM'[speaker % 2]} {codec} {key} -")
    return lines, np.where(spoof, "spoof", "bonafide").tolist()


def _recordings(root: Path, split: str, label: str, speech: Path | None, distinct: int, rng: np.random.Generator) -> list[Path]:
    """Write the distinct recordings of a class and split below `root`: hard links only work within one file system."""
    folder = root / "sources" / split / label
    folder.mkdir(parents=True)
    if speech is not None:
        trials = load_trials(DataConfig(root=speech.resolve()))
        found = trials.loc[(trials["split"] == split) & (trials["label"] == label), "path"].tolist()
        chosen = [found[row] for row in rng.permutation(len(found))[:distinct]]
        return [Path(shutil.copyfile(path, folder / f"{number}.flac")) for number, path in enumerate(chosen)]
    files, seconds = [folder / f"{number}.flac" for number in range(distinct)], np.arange(2 * RATE) / RATE
    for file in files:
        tone = np.sin(2 * np.pi * rng.uniform(200, 400) * seconds)
        soundfile.write(file, 0.2 * (tone if label == "spoof" else rng.uniform(-1, 1, len(seconds))), RATE)
    return files


def link(sources: list[Path], number: int, target: Path) -> None:
    """Make `target` a hard link to `sources[number]`; if that has too many links, make and use a copy.

    Raises:
        RehearsalError: the file system has no hard links.
    """
    try:
        os.link(sources[number], target)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise RehearsalError(
                f"{target.parent}: no hard links on this file system ({error.strerror}); choose another folder"
            ) from error
        if error.errno != errno.EMLINK:
            raise
        shutil.copyfile(sources[number], target)
        sources[number] = target


# ---- the workflow ----------------------------------------------------------------------------------------------------


def make_encoder(folder: Path) -> None:
    """Save a randomly initialised wav2vec 2.0 with two layers and 16 features per frame, and its preprocessor."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, num_feat_extract_layers=7,
        do_stable_layer_norm=True, feat_extract_norm="layer",
    )  # fmt: skip
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)


def make_profile(file: Path, tree: Path, encoder: Path, run: Path) -> None:
    """Write the profile: a small version of `asvspoof5.yaml`, with a feature bank of one layer and one view."""
    profile = {
        "name": "rehearsal", "title": "Rehearsal", "run_dir": str(run),
        "data": {"corpus": "asvspoof5", "root": str(tree)},
        "model": {
            "frontend": {"name": str(encoder), "layer": "last"}, "samples": SAMPLES, "projection": 8,
            "channels": [4, 8], "blocks": 2, "graph_dims": [8, 8], "heads": 2,
        },
        "augmentation": {"views": 1, "distortions": [{"kind": "noise"}, {"kind": "gain"}]},
        "training": {"epochs": 1, "batch_size": 64, "learning_rate": 2e-3, "feature_cache": True},
    }  # fmt: skip
    with atomic(file) as temporary:
        temporary.write_text(yaml.safe_dump(profile, sort_keys=False))


def commands(profile: Path, tree: Path, scores: Path) -> dict[str, list[str]]:
    """Return the command line of each step."""
    lib, key = [sys.executable, "-m", "aasist_lib"], str(tree / SPLITS["eval"].protocol)
    return {
        "prepare": [*lib, "prepare", str(profile)],
        "features": [*lib, "features", str(profile)],
        "train": [*lib, "train", str(profile)],
        "score": [*lib, "score", "--profile", str(profile), "--split", "eval", "--out", str(scores)],
        "evaluate": [*lib, "evaluate", "--scores", str(scores), "--key", key],
    }


@dataclass(frozen=True)
class Usage:
    """Resources used by a process and its children: wall-clock and CPU seconds, and peak memory in MB.

    `own_mb` is memory that is only freed when the process ends (anonymous and shared). `resident_mb` also includes the pages of
    mapped files, such as libraries and the feature bank, which the kernel can reclaim.
    """

    seconds: float
    cpu_seconds: float
    own_mb: float
    resident_mb: float


def measured(command: Sequence[str], log: Path, every: float = 0.05) -> Usage:
    """Run a command in the project's root and measure it. Linux only: memory is read from /proc.

    Args:
        command: the command line.
        log: file for its output.
        every: seconds between two readings of the memory of the process and its children.

    Raises:
        RehearsalError: the command failed; the message contains the end of its output.
    """
    started, own, resident = time.perf_counter(), 0.0, 0.0
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=PROJECT, stdout=out, stderr=subprocess.STDOUT)
    try:
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            now = _memory(process.pid)
            own, resident = max(own, now[0]), max(resident, now[1])
            time.sleep(every)
    except BaseException:
        process.kill()
        raise
    _, status, used = ended
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RehearsalError(f"exit code {process.returncode} of {' '.join(command)}\n{log.read_text()[-3000:]}")
    return Usage(time.perf_counter() - started, used.ru_utime + used.ru_stime, own, resident)


def _memory(pid: int) -> tuple[float, float]:
    """Return the present own and resident MB of a process and its children."""
    own = resident = 0.0
    with suppress(psutil.NoSuchProcess):  # the process has just ended, which the next wait4 reports
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with suppress(FileNotFoundError, ProcessLookupError):
                status = Path(f"/proc/{process.pid}/status").read_text()
                kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in status.splitlines() if line.endswith(" kB")}
                own += (kilobytes.get("RssAnon", 0) + kilobytes.get("RssShmem", 0)) / 1024
                resident += kilobytes.get("VmRSS", 0) / 1024
    return own, resident


def rehearse(folder: Path, trials: int, speech: Path | None, distinct: int = 32) -> pd.DataFrame:
    """Create a corpus and an encoder in `folder` and run the workflow on them.

    Returns:
        one row per step, `tree` first: `trials` (of the whole corpus), `step`, and the fields of `Usage`. The last row has the
        `eer` of the eval scores (a fraction); its value has no meaning, but it must be computable.

    Raises:
        RehearsalError: a step failed, or the scored trials are not those of eval.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tree, encoder, profile, scores = folder / "tree", folder / "encoder", folder / "profile.yaml", folder / "scores.tsv"
    started, cpu = time.perf_counter(), time.process_time()
    make_tree(tree, trials, speech, distinct)
    made = {"step": "tree", "seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
    make_encoder(encoder)
    make_profile(profile, tree, encoder, folder / "run")
    rows: list[dict] = [made]
    for step, command in commands(profile, tree, scores).items():
        rows.append({"step": step, **asdict(measured(command, folder / f"{step}.log"))})
        print(f"{trials} trials, {step}: {rows[-1]['seconds']:.1f} s, {rows[-1]['own_mb']:.0f} MB", file=sys.stderr, flush=True)
    rows[-1]["eer"] = checked_eer(scores, tree / SPLITS["eval"].protocol)
    return pd.DataFrame([{"trials": trials} | row for row in rows])


def checked_eer(scores: Path, key: Path) -> float:
    found, wanted = pd.read_csv(scores, sep="\t"), read_key(key)
    if sorted(found["filename"]) != sorted(wanted["utt_id"]):
        raise RehearsalError(f"{scores}: {len(found)} scores are not those of the {len(wanted)} trials in {key}")
    table = wanted.merge(found, left_on="utt_id", right_on="filename")
    return eer(*(table.loc[table["label"] == label, "cm-score"].to_numpy() for label in ("bonafide", "spoof")))[0]


# ---- table and figure ------------------------------------------------------------------------------------------------


def markdown(table: pd.DataFrame) -> str:
    """Return the Markdown table for docs/scale.md: one row per step; seconds, CPU seconds and own / resident MB by size."""
    sizes = sorted(table["trials"].unique())
    titles = [f"{size:,}".replace(",", " ") for size in sizes]
    heads = ["step", *(f"{title}: s (CPU)" for title in titles), *(f"{title}: MB" for title in titles)]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for step in ("tree", *STEPS):
        rows = table[table["step"] == step].set_index("trials")
        cells = [f"{rows.loc[size, 'seconds']:.1f} ({rows.loc[size, 'cpu_seconds']:.1f})" for size in sizes]
        if step != "tree":  # runs in this process, whose memory is not measured
            cells += [f"{rows.loc[size, 'own_mb']:.0f} / {rows.loc[size, 'resident_mb']:.0f}" for size in sizes]
        lines.append("| " + " | ".join([step, *cells, *["–"] * (len(heads) - 1 - len(cells))]) + " |")
    return "\n".join(lines)


@styled
def scaling(table: pd.DataFrame) -> Figure:
    """Plot seconds and peak memory of every step over the size of the corpus."""
    figure, (time_axes, own_axes, resident_axes) = make_figure(11, 4, columns=3, sharex=True)
    panels = (time_axes, "seconds", "Time (s)"), (own_axes, "own_mb", "Own memory (MB)"), (
        resident_axes, "resident_mb", "With mapped files (MB)",
    )  # fmt: skip
    for number, step in enumerate(STEPS):
        rows = table[table["step"] == step].sort_values("trials")
        style = {"color": PALETTE[number], "marker": "osD^v"[number], "label": step}
        for axes, column, _ in panels:
            axes.plot(rows["trials"], rows[column], **style)
    ends = np.array([table["trials"].min(), table["trials"].max()])
    seconds = table.loc[table["step"] != "tree", "seconds"]
    top = seconds.max()
    time_axes.plot(ends, top * ends / ends[1], color=GREY, linestyle=":", label="proportional")
    for axes, _, title in panels:
        axes.set(xscale="log", xlabel="Trials, all splits", title=title)
        axes.set_ylim(bottom=0)
    time_axes.set_yscale("log")
    time_axes.set_ylim(0.7 * seconds.min(), 1.5 * top)
    time_axes.yaxis.set_major_formatter("{x:g}")
    figure.legend(*time_axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(STEPS) + 1)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[1_000, 10_000, 100_000, 200_000])
    parser.add_argument("--only-tree", type=Path, metavar="FOLDER", help="only create a corpus of one size in FOLDER")
    parser.add_argument("--folder", type=Path, help="work in this folder and keep all files; default: a temporary folder")
    parser.add_argument("--synthetic", action="store_true", help="use noise and tones even if the demo corpus exists")
    parser.add_argument("--table", type=Path, help="write the measurements to this CSV file")
    parser.add_argument("--figure", type=Path, help="write the scaling figure to this PNG file")
    options = parser.parse_args()
    speech = DEMO if (DEMO / "trials.parquet").is_file() and not options.synthetic else None
    print(f"audio: {f'recordings of {speech}' if speech else 'noise and tones'}", file=sys.stderr)
    if options.only_tree:
        if len(options.trials) != 1:
            parser.error("--only-tree creates one corpus: pass one number to --trials")
        print(json.dumps(make_tree(options.only_tree, options.trials[0], speech)))
        return
    parts = []
    for size in options.trials:
        with tempfile.TemporaryDirectory() as temporary:
            folder = options.folder.resolve() / str(size) if options.folder else Path(temporary)
            parts.append(rehearse(folder, size, speech))
    table = pd.concat(parts, ignore_index=True).round({"seconds": 2, "cpu_seconds": 2, "own_mb": 0, "resident_mb": 0, "eer": 4})
    if options.table:
        with atomic(options.table) as file:
            table.to_csv(file, index=False)
    if options.figure:
        with atomic(options.figure) as file:
            scaling(table).savefig(file, format="png", dpi=120)
    print(markdown(table), file=sys.stderr)
    steps = json.loads(table.to_json(orient="records"))
    print(json.dumps({"threads": os.environ.get("OMP_NUM_THREADS", "all"), "steps": steps}))


if __name__ == "__main__":
    main()
