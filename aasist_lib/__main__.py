"""The command line: `python -m aasist_lib {prepare, features, train, calibrate, score, evaluate, run, report}`.

Each command imports its heavy dependencies itself. A library error, or an operating system error about a file, is printed as
one message on stderr with exit code 2; any other exception is a defect and keeps its traceback. SIGINT and SIGTERM print one
line and exit with code 130 or 143.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aasist_lib.config import ConfigError, Profile, load_profile, project_root
from aasist_lib.runtime.files import WriteError, advise
from aasist_lib.runtime.files import table_stem as stem
from aasist_lib.runtime.processes import of_library
from aasist_lib.runtime.signals import ends_on_signals

WHISPER = "whisper-tiny.en"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    if os.environ.get("RANK", "0") != "0":
        os.environ["TQDM_DISABLE"] = "1"  # only the main process shows progress; tqdm reads this when imported
    try:
        with ends_on_signals():
            return options.command(options)
    except Exception as error:
        if not of_library(error):
            raise
        text = advise(error) if isinstance(error, OSError) and not isinstance(error, WriteError) else str(error)
        print(f"error: {text}", file=sys.stderr)
        return 2


def prepare(options: argparse.Namespace) -> int:
    """Build the demo corpus and download the demo's encoder, if missing; check any other corpus."""
    extra = [f"data.bonafide={options.bonafide}"] if options.bonafide else []
    extra += ["data.full=true"] if options.full else []
    profile = load_profile(options.profile, [*options.set, *extra])
    _encoder(profile)
    if options.encoder_only:
        return 0
    if profile.data.corpus != "demo":
        return _check_corpus(profile, options)
    if options.split_by:
        raise ConfigError("--split-by is for your own corpus (data.corpus: folder or table); the demo corpus is already split")
    from demo_corpus import build

    report = build(profile.data, say=_say)
    _say(f"corpus: {report.clips} clips in {report.root}, {report.made} made now, {len(report.skipped)} skipped")
    if extra:
        _say(f"corpus: to run the notebooks on it, add --set {' '.join(extra)}")
    return 0


def _check_corpus(profile: Profile, options: argparse.Namespace) -> int:
    """Count a corpus's trials, read every clip to its end, and split the corpus if requested."""
    from aasist_lib.corpora import load_trials, write_trials
    from aasist_lib.corpora.folder import left_out
    from aasist_lib.corpora.splits import split_by_speaker
    from aasist_lib.datasets.check import usable

    data = profile.data
    trials = load_trials(data)
    if options.split_by:
        trials, notes = split_by_speaker(trials, profile.seed)
        table = project_root() / "data" / f"{profile.name}_trials.csv"
        if table.exists() and not options.overwrite:
            raise ConfigError(f"{table} already exists: add --overwrite to rebuild it from the current clips")
        write_trials(trials, table)
        for note in notes:
            print(f"warning: {note}", file=sys.stderr)
        use = f"data.corpus=table data.root={table.relative_to(project_root())}"
        _say(f"split by speaker: {table}\nto use it, write these two keys into the profile or add to any command: --set {use}")
    counts = trials.groupby(["split", "label"], sort=False).size().unstack(fill_value=0)
    _say(f"corpus: {data.corpus} in {data.root}, all files present\n{counts.to_string()}")
    if data.corpus == "folder" and (others := left_out(data.source)):
        _say(f"not audio, left out: {others}")
    _say(f"audio: {len(usable(profile, trials))} of {len(trials)} clips can be read to their end")
    missing = [split for split in ("train", "dev") if split not in set(trials["split"])]
    if missing and "03" in profile.notebooks:
        way = "sort the clips into train/, dev/ and eval/" if data.corpus == "folder" else "add a column 'split' to the table"
        raise ConfigError(
            f"split '{missing[0]}' has no trials, so training is impossible: {way}, or split the corpus by speaker: "
            f"python -m aasist_lib prepare {options.profile} --split-by speaker"
        )
    return 0


def features(options: argparse.Namespace) -> int:
    """Compute the frozen encoder features of every split, if missing."""
    from aasist_lib.corpora import load_trials
    from aasist_lib.datasets.check import usable
    from aasist_lib.datasets.feature_bank import build_bank
    from aasist_lib.models import build_model
    from aasist_lib.runtime.processes import launched

    profile = load_profile(options.profile, options.set)
    _encoder(profile)
    encoder = build_model(profile.model).frontend
    trials = usable(profile, load_trials(profile.data))
    for split, rows in trials.groupby("split", sort=False):
        part = rows.reset_index(drop=True)
        bank = build_bank(profile, encoder, part, train=split == "train", device=launched().device)
        if launched().is_main_process:
            _say(f"features: {split}, {len(bank)} clips in {bank.views} views: {bank.folder}")
    return 0


def train(options: argparse.Namespace) -> int:
    """Train, or resume training; with `accelerate launch` on several devices."""
    from aasist_lib.runtime.run_folder import RunFolder
    from aasist_lib.training import EpochRecord
    from aasist_lib.training import train as fit

    profile = load_profile(options.profile, options.set)
    _encoder(profile)

    def tell(record: EpochRecord) -> None:
        _say(
            f"epoch {record.epoch:3d}  loss {record.train_loss:.4f}  dev loss {record.dev_loss:.4f}  "
            f"dev EER {record.dev_eer:.2%}  focal {record.focal_weight:.2f}  {record.seconds:.1f} s"
        )

    result = fit(profile, RunFolder.open(profile, overwrite=options.overwrite), tell)
    if os.environ.get("RANK", "0") == "0":
        _say(f"best epoch {result.best_epoch}: {result.checkpoint}")
    return 0


def calibrate(options: argparse.Namespace) -> int:
    """Calibrate a trained detector for attacks it has not met, with detectors trained without one family of attacks each."""
    from aasist_lib.experiments.cross_fit import cross_fit
    from aasist_lib.runtime.run_folder import RunFolder

    profile = load_profile(options.profile, options.set)
    _encoder(profile)
    _say(cross_fit(profile, RunFolder.open(profile), _say).to_string(index=False))
    return 0


def score(options: argparse.Namespace) -> int:
    """Score recordings (files, and all audio in folders) or, with --profile, a corpus split. Exit code 1 if some recordings
    were left out, 2 if nothing was scored. Processes launched together share the work; only the main process, and therefore the
    launcher, exits with a code other than 0."""
    if bool(options.paths) == bool(options.profile):
        raise ConfigError("score needs either recordings (PATH ...) or a corpus (--profile CONFIG)")
    unused = [name for name in ("always", "scores_only", "timeline", "hop") if getattr(options, name)]
    if options.profile and (unused or options.channels == "each"):
        raise ConfigError(f"--{(unused or ['channels'])[0].replace('_', '-')} is for recordings, not for a corpus (--profile)")
    return _score_corpus(options) if options.profile else _score_recordings(options)


def _score_corpus(options: argparse.Namespace) -> int:
    from aasist_lib.corpora import load_trials
    from aasist_lib.evaluation.score_files import FORMS, refuse_form, write_scores
    from aasist_lib.models.checkpoints import load_model
    from aasist_lib.runtime.processes import agreed, launched
    from aasist_lib.scoring import score_split

    profile = load_profile(options.profile, options.set)
    _encoder(profile)
    corpus = (options.split == "eval" and profile.data.evaluate_on or profile.data).corpus
    if options.out is None:
        raise ConfigError("corpus scores need an output file: add --out eval.tsv (the organisers' format), .csv or .parquet")
    suffix = options.out.suffix.lower().removeprefix(".")
    if suffix not in ("csv", "parquet", "txt", "tsv", "gz", ""):
        raise ConfigError(f"--out {options.out}: unknown type; use .tsv or .txt (the organisers' format), .csv or .parquet")
    form = suffix if suffix in ("csv", "parquet") else next((form for form in FORMS if corpus.startswith(form)), "asvspoof5")
    with agreed():
        trials = load_trials(profile.data)
        refuse_form(trials[trials["split"] == options.split], options.out, form)
        model, _ = load_model(options.checkpoint or project_root() / profile.folder / "checkpoints" / "best")
    table = score_split(profile, model, options.split, launched().device)
    if launched().is_main_process:
        write_scores(table, options.out, form)
        _say(f"{len(table)} trials of {corpus}, {options.split}, scored: {options.out}, as {form}")
    return 0


def _score_recordings(options: argparse.Namespace) -> int:
    from contextlib import nullcontext

    from tqdm import tqdm

    from aasist_lib.runtime.processes import agreed, launched, launched_alone
    from aasist_lib.scoring import ScoringError
    from aasist_lib.scoring.batch import for_terminal, refuse_out, result_table, score_to_csv
    from aasist_lib.scoring.detector import Detector, find_detector
    from aasist_lib.scoring.recordings import LeftOut, Recording, score_recordings

    checkpoint = options.checkpoint or find_detector(project_root() / "runs" / "demo")
    world, out, each = launched(), options.out, options.channels == "each"
    with agreed():
        refuse_out(out, options.timeline)
        if out is None and world.num_processes > 1:
            raise ScoringError("several processes need an output file: add --out scores.csv")
        detector = Detector.load(checkpoint, world.device, options.scores_only, options.always)
    if world.is_main_process:
        print(f"warning: {detector.caution()}", file=sys.stderr)
    part = f", process 1 of {world.num_processes}" if world.num_processes > 1 else ""
    busy = ScoringError(f"another process is scoring into {out}")
    alone = launched_alone(out.with_name(f".{out.name}.lock"), busy) if out else nullcontext()
    bar = tqdm(
        desc=f"scoring{part}", unit=" s of audio", unit_scale=True, mininterval=1, disable=None if out is None else False
    )
    with alone, bar:
        if out is None:
            found = list(score_recordings(detector, options.paths, options.hop, bar.update, each))
            left_out = [missed for missed in found if isinstance(missed, LeftOut)]
            table = result_table((done for done in found if isinstance(done, Recording)), detector, options.prior_spoof)
            if table.empty:
                reasons = "\n  ".join(f"{missed.path}: {missed.reason}" for missed in left_out)
                raise ScoringError(f"nothing could be scored:\n  {reasons}")
        else:
            table, left_out = score_to_csv(
                detector, options.paths, out, options.prior_spoof, options.timeline, options.hop, bar.update, each_channel=each
            )
    if table is None:
        return 0
    _say(for_terminal(table))
    for path, reason in left_out:
        print(f"left out: {path}: {reason}", file=sys.stderr)
    prior = "" if options.scores_only else f"; probabilities are for a prior of spoof of {options.prior_spoof:g}"
    done = table["utt_id"].nunique()
    _say(f"{done} of {done + len(left_out)} recordings scored{f': {out}' if out else ''}{prior}")
    return 1 if left_out else 0


def evaluate(options: argparse.Namespace) -> int:
    """Evaluate a score file against a key, print the results, and write them with figures."""
    from aasist_lib.evaluation.asv import read_asv, read_tandem
    from aasist_lib.evaluation.evaluate import compare, format_comparison, format_evaluation, write_evaluation
    from aasist_lib.evaluation.evaluate import evaluate as measure
    from aasist_lib.evaluation.matching import add_duration, only, read_joined
    from aasist_lib.metrics import eer, split_classes
    from aasist_lib.runtime.run_folder import RunFolder, evaluation_folder, evaluation_inputs

    table = read_joined(options.scores, options.key, options.columns)
    _say_what_was_joined(table, options)
    if "duration" in options.by:
        table = add_duration(table, options.key)
    table = only(table, options.only, options.leave_out)
    threshold = options.threshold
    if options.dev_scores:
        dev = read_joined(options.dev_scores, options.dev_key, options.columns)
        threshold = eer(*split_classes(dev["label"], dev["score"]))[1]
    asv = read_asv(options.asv) if options.asv else None
    tandem = read_tandem(options.scores, options.key) if options.key else None
    groups = None if options.bootstrap == "trial" else options.bootstrap
    sasv = tandem.sasv if tandem else None
    found = measure(table, by=options.by, groups=groups, threshold=threshold, asv=asv or (tandem and tandem.asv), sasv=sasv)
    _say(format_evaluation(found))
    against = None
    if options.against:
        other = only(read_joined(options.against, options.key, options.columns), options.only, options.leave_out)
        against = compare(table, other, groups)
        _say(f"\n{format_comparison(against, (stem(options.scores), stem(options.against)))}")
    for sentence in found.warnings:
        print(f"warning: {sentence}", file=sys.stderr)
    roles = ("scores", "key", "asv", "dev_scores", "dev_key", "against")
    sources = {role: file for role in roles if (file := getattr(options, role))}
    settings = {name: getattr(options, name) for name in ("only", "leave_out", "columns", "threshold")}
    inputs = {**evaluation_inputs(sources), **{name: value for name, value in settings.items() if value not in (None, [])}}
    default = options.scores.parent / f"{stem(options.scores).lstrip('.') or 'scores'}_evaluation"
    run = RunFolder.of_evaluation(options.out or evaluation_folder(default, inputs), inputs)
    written = write_evaluation(found, table, run, sources, against)
    _say(f"written: {written[0]}" + (f", figures in {run.folder / 'figures'}" if len(written) > 1 else ""))
    return 0


def _say_what_was_joined(table: Any, options: argparse.Namespace) -> None:
    """Print how ids were matched if not exactly, and which part of the key's trials is evaluated."""
    if matched := table.attrs.get("matched"):
        _say(matched)
    if options.key and {"subset", "split"} & set(table.columns):
        splits = ", ".join(table["split"].unique()) if "split" in table.columns else ""
        part = "the subset 'eval', which is the one evaluated" if "subset" in table.columns else f"split {splits}"
        _say(f"{len(table)} trials, of {part}")


def run(options: argparse.Namespace) -> int:
    """Run the notebooks headless and write the report."""
    from aasist_lib.workbook import run as run_notebooks

    _encoder(load_profile(options.profile, options.set))
    return run_notebooks(options.profile, options.set, options.only, options.overwrite)


def report(options: argparse.Namespace) -> int:
    """Rebuild the report of a run."""
    from aasist_lib.runtime.run_folder import RunFolder
    from aasist_lib.workbook.report import build

    profile = load_profile(options.profile, options.set)
    _say(f"report: {build(RunFolder(project_root() / profile.folder))}")
    return 0


def _encoder(profile: Profile) -> None:
    """Download and convert Whisper tiny.en if the profile names a local copy that is missing or was converted by other code."""
    from aasist_lib.runtime.kept import is_converted

    folder = Path(profile.model.frontend.name)
    if folder.name != WHISPER or len(folder.parts) < 3:  # 'openai/whisper-tiny.en' is a hub name
        return
    folder = project_root() / folder
    if not is_converted(folder, "demo_corpus.encoders.whisper"):
        from demo_corpus.encoders.whisper import ensure_whisper

        ensure_whisper(folder, project_root() / "data" / "downloads")


def _say(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader of our output, such as `head`, has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _parser() -> argparse.ArgumentParser:
    about = "Speech deepfake detection, from data to report."
    parser = argparse.ArgumentParser(prog="python -m aasist_lib", description=about)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(command, default: str | None = None, profile: bool = True) -> argparse.ArgumentParser:
        text = command.__doc__.strip()
        added = commands.add_parser(command.__name__, help=text, description=text)
        added.set_defaults(command=command)
        if profile:
            many: dict[str, Any] = {"nargs": "?", "default": default} if default else {}
            added.add_argument("profile", metavar="CONFIG", help="profile: a name in configs/ or a path", **many)
            override: dict[str, Any] = {"nargs": "+", "action": "extend", "default": [], "metavar": "KEY=VALUE"}
            added.add_argument("--set", help="override settings, e.g. training.epochs=3 seed=2", **override)
        return added

    corpus = add(prepare, "demo")
    corpus.add_argument("--encoder-only", action="store_true", help="prepare the encoder only, not the corpus")
    corpus.add_argument("--split-by", choices=("speaker",), help="split a corpus of your own into train, dev and eval")
    corpus.add_argument("--overwrite", action="store_true", help="rebuild the table of --split-by")
    corpus.add_argument("--full", action="store_true", help="include the larger sources")
    corpus.add_argument("--bonafide", metavar="SOURCE", help="debian, librispeech, or a folder with one subfolder per speaker")
    add(features, "demo")
    training = add(train)
    add(calibrate, "demo")
    scoring = add(score, profile=False)
    scoring.add_argument("--checkpoint", type=Path, metavar="DIR", help="default: the run's, or detectors/demo for recordings")
    scoring.add_argument("--profile", metavar="CONFIG", help="score this profile's corpus with its run's detector")
    scoring.add_argument("--split", choices=("train", "dev", "eval"), default="eval", help="split to score (default eval)")
    scoring.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="override the profile")
    scoring.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="audio files or folders")
    scoring.add_argument("--out", type=Path, metavar="FILE", help="output CSV; for a corpus also .parquet, .tsv or .txt")
    scoring.add_argument(
        "--channels", choices=("mean", "each"), default="mean",
        help="'each': score channels separately, e.g. both sides of a call; default: their mean, or one if the mean cancels",
    )  # fmt: skip
    scoring.add_argument("--timeline", action="store_true", help="also write every window's score, to FILE_timeline.csv")
    scoring.add_argument("--prior-spoof", type=float, default=0.5, metavar="P", help="spoof prior in p_bonafide (default 0.5)")
    scoring.add_argument("--hop", type=float, metavar="SECONDS", help="hop between windows (default: half a window)")
    scoring.add_argument("--scores-only", action="store_true", help="skip calibration: no llr, no p_bonafide")
    scoring.add_argument("--always", action="store_true", help="decide also what is silent or unlike anything trained on")
    evaluation = add(evaluate, profile=False)
    evaluation.add_argument("--scores", type=Path, required=True, metavar="FILE", help="score file, any supported format")
    evaluation.add_argument(
        "--key", type=Path, metavar="FILE", help="key, protocol or trial table; default: labels in the score file"
    )
    evaluation.add_argument("--columns", nargs="+", default=[], metavar="NAME", help="column names, if not detected")
    at = evaluation.add_mutually_exclusive_group()
    at.add_argument("--dev-scores", type=Path, metavar="FILE", help="dev scores: report error rates at their EER threshold")
    at.add_argument("--threshold", type=float, metavar="T", help="report error rates at this threshold")
    evaluation.add_argument("--dev-key", type=Path, metavar="FILE", help="key of the dev scores; default: labels in them")
    evaluation.add_argument(
        "--against", type=Path, metavar="FILE", help="another system's scores on the same trials, for comparison"
    )
    evaluation.add_argument("--asv", type=Path, metavar="FILE", help="speaker verification (ASV) scores, for the t-DCF")
    evaluation.add_argument("--by", nargs="+", default=[], metavar="COLUMN", help="breakdown, e.g. attack codec duration")
    many: dict[str, Any] = {"nargs": "+", "action": "extend", "default": [], "metavar": "COLUMN=VALUE,…"}
    evaluation.add_argument("--only", help="evaluate only these trials, e.g. attack=A07,A08", **many)
    evaluation.add_argument("--leave-out", help="exclude these trials", **many)
    evaluation.add_argument("--bootstrap", choices=("trial", "speaker"), default="trial", help="unit resampled for intervals")
    evaluation.add_argument("--out", type=Path, metavar="DIR", help="results folder; default: next to the scores")
    running = add(run)
    running.add_argument("--only", nargs="+", default=[], metavar="NN", help="numbers of the notebooks to run")
    for command in (training, running):
        command.add_argument("--overwrite", action="store_true", help="replace a finished training that used other settings")
    add(report, "demo")
    return parser


if __name__ == "__main__":
    sys.exit(main())
