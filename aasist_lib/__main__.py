"""The command line: `python -m aasist_lib {prepare, features, train, score, evaluate, run, report}`.

Everything heavy is imported by the command that needs it. An error of the library, or of the operating system about a file,
is one message on stderr and exit code 2; anything else is a defect and keeps its traceback. SIGINT and SIGTERM are one line and
exit code 130 or 143.
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
from aasist_lib.files import WriteError, explain
from aasist_lib.interruption import ADVICE, interruptible, stopped_in_time
from aasist_lib.processes import of_library

WHISPER, MOONSHINE = "whisper-tiny.en", "moonshine-tiny"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    if not (first := os.environ.get("RANK", "0") == "0"):
        os.environ["TQDM_DISABLE"] = "1"  # of processes launched together one shows how far it is; read as tqdm is imported
    try:
        with stopped_in_time(), interruptible():
            return options.command(options)
    except KeyboardInterrupt as stop:
        if first:
            print(ADVICE, file=sys.stderr)
        return 128 + getattr(stop, "number", signal.SIGINT)
    except Exception as error:
        if not of_library(error):
            raise
        text = explain(error) if isinstance(error, OSError) and not isinstance(error, WriteError) else str(error)
        print(f"error: {text}", file=sys.stderr)
        return 2


def prepare(options: argparse.Namespace) -> int:
    """Build the demo corpus and fetch the demo's encoder, where they are missing; check any other corpus."""
    extra = [f"data.bonafide={options.bonafide}"] if options.bonafide else []
    extra += ["data.full=true"] if options.full else []
    profile = load_profile(options.profile, [*options.set, *extra])
    _encoder(profile)
    if options.encoder_only:
        return 0
    if profile.data.corpus != "demo":
        from aasist_lib.corpora import load_trials
        from aasist_lib.preflight import usable

        trials = load_trials(profile.data)
        counts = trials.groupby(["split", "label"], sort=False).size().unstack(fill_value=0)
        _say(f"corpus: {profile.data.corpus} in {profile.data.root}, all files there\n{counts.to_string()}")
        _say(f"audio: {len(usable(profile, trials))} of {len(trials)} clips can be read to their end")
        return 0
    from aasist_lib.corpora.demo import build

    report = build(profile.data, say=_say)
    _say(f"corpus: {report.clips} clips in {report.root}, {report.made} made now, {len(report.skipped)} skipped")
    if extra:
        _say(f"corpus: run the notebooks on it with --set {' '.join(extra)}")
    return 0


def features(options: argparse.Namespace) -> int:
    """Compute the frozen features of every split, where they are missing."""
    from aasist_lib.corpora import load_trials
    from aasist_lib.features import build_bank
    from aasist_lib.models import build_model
    from aasist_lib.preflight import usable
    from aasist_lib.processes import team

    profile = load_profile(options.profile, options.set)
    _encoder(profile)
    encoder = build_model(profile.model).frontend
    trials = usable(profile, load_trials(profile.data))
    for split, rows in trials.groupby("split", sort=False):
        part = rows.reset_index(drop=True)
        bank = build_bank(profile, encoder, part, train=split == "train", device=team().device)
        if team().is_main_process:
            _say(f"features: {split}, {len(bank)} clips in {bank.views} views: {bank.folder}")
    return 0


def train(options: argparse.Namespace) -> int:
    """Train, or go on; under `accelerate launch` on as many devices as it was told."""
    from aasist_lib.runs import RunFolder
    from aasist_lib.training import EpochRecord
    from aasist_lib.training import train as fit

    profile = load_profile(options.profile, options.set)
    _encoder(profile)

    def tell(record: EpochRecord) -> None:
        _say(
            f"epoch {record.epoch:3d}  loss {record.train_loss:.4f}  dev loss {record.dev_loss:.4f}  "
            f"dev EER {record.dev_eer:.2%}  focal {record.focal_weight:.2f}  {record.seconds:.1f} s"
        )

    result = fit(profile, RunFolder.open(profile), tell)
    if os.environ.get("RANK", "0") == "0":
        _say(f"best epoch {result.best_epoch}: {result.checkpoint}")
    return 0


def score(options: argparse.Namespace) -> int:
    """Score recordings: files, and all audio in folders; or, with --profile, a split of a corpus. Exit code 1 when some were
    left out, 2 when nothing was scored. Processes that were launched together share the work; only the main one's exit code,
    and thereby the launcher's, is not 0."""
    if bool(options.paths) == bool(options.profile):
        raise ConfigError("score takes either recordings (PATH ...) or a corpus (--profile CONFIG)")
    return _score_corpus(options) if options.profile else _score_recordings(options)


def _score_corpus(options: argparse.Namespace) -> int:
    from aasist_lib.checkpoints import load_model
    from aasist_lib.processes import agreed, team
    from aasist_lib.scoring import score_split
    from aasist_lib.tables import FORMS, write_scores

    profile = load_profile(options.profile, options.set)
    _encoder(profile)
    corpus = (options.split == "eval" and profile.data.evaluate_on or profile.data).corpus
    suffix = options.out.suffix.removeprefix(".")
    form = suffix if suffix in ("csv", "parquet") else next((form for form in FORMS if corpus.startswith(form)), "asvspoof5")
    with agreed():
        model, _ = load_model(options.checkpoint or project_root() / profile.folder / "checkpoints" / "best")
    table = score_split(profile, model, options.split, team().device)
    if team().is_main_process:
        write_scores(table, options.out, form)
        _say(f"{len(table)} trials of {corpus}, {options.split}, scored: {options.out}, as {form}")
    return 0


def _score_recordings(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from aasist_lib.processes import agreed, team, team_alone
    from aasist_lib.recordings import Detector, ScoringError, score_to_csv

    checkpoint = options.checkpoint or project_root() / "runs" / "demo" / "checkpoints" / "best"
    members = team()
    with agreed():
        detector = Detector.load(checkpoint, members.device, options.scores_only)
    if members.is_main_process:
        print(f"warning: {detector.caution()}", file=sys.stderr)
    part = f", process 1 of {members.num_processes}" if members.num_processes > 1 else ""
    lock, busy = (
        options.out.with_name(f".{options.out.name}.lock"),
        ScoringError(f"another process is scoring into {options.out}"),
    )
    with team_alone(lock, busy), tqdm(desc=f"scoring{part}", unit=" s of audio", unit_scale=True, mininterval=1) as bar:
        table, left_out = score_to_csv(
            detector, options.paths, options.out, options.prior_spoof, options.timeline, options.hop, bar.update
        )
    if table is None:
        return 0
    for row in table[table["warnings"] != ""].itertuples():
        print(f"warning: {row.utt_id}: {row.warnings}", file=sys.stderr)
    for path, reason in left_out:
        print(f"left out: {path}: {reason}", file=sys.stderr)
    prior = "" if options.scores_only else f"; p_bonafide is for a prior of spoof of {options.prior_spoof:g}"
    _say(f"{len(table)} of {len(table) + len(left_out)} recordings scored: {options.out}{prior}")
    return 1 if left_out else 0


def evaluate(options: argparse.Namespace) -> int:
    """Measure a score file against a key, print the table, and write it with its figures."""
    from aasist_lib.corpora.protocols import read_key
    from aasist_lib.evaluation import evaluate as measure
    from aasist_lib.evaluation import format_evaluation, output_folder, write_evaluation
    from aasist_lib.tables import join, read_asv, read_scores

    key = read_key(options.key)
    table = join(read_scores(options.scores), key, (str(options.scores), str(options.key)))
    if len(table) < len(key):
        part = "its subset 'eval', the one that counts" if "subset" in key else f"split {', '.join(table['split'].unique())}"
        _say(f"{len(table)} of the key's {len(key)} trials are of {part}")
    asv = read_asv(options.asv) if options.asv else None
    folder = output_folder(options.scores, options.out)
    groups = None if options.bootstrap == "trial" else options.bootstrap
    found = measure(table, by=options.by, groups=groups, asv=asv)
    _say(format_evaluation(found))
    for sentence in found.warnings:
        print(f"warning: {sentence}", file=sys.stderr)
    sources = {"scores": options.scores, "key": options.key} | ({"asv": options.asv} if options.asv else {})
    _say(f"written: {write_evaluation(found, table, folder, sources)[0]}, figures in {folder / 'figures'}")
    return 0


def run(options: argparse.Namespace) -> int:
    """Run the notebooks headless and write the report."""
    from aasist_lib.workbook import run as run_notebooks

    _encoder(load_profile(options.profile, options.set))
    return run_notebooks(options.profile, options.set, options.only)


def report(options: argparse.Namespace) -> int:
    """Write the report of a run again."""
    from aasist_lib.report import build
    from aasist_lib.runs import RunFolder

    profile = load_profile(options.profile, options.set)
    _say(f"report: {build(RunFolder(project_root() / profile.folder))}")
    return 0


def _encoder(profile: Profile) -> None:
    """Fetch and convert Whisper tiny.en or Moonshine tiny where the profile names a local copy that is not there."""
    folder = Path(profile.model.frontend.name)
    if folder.name not in (WHISPER, MOONSHINE) or len(folder.parts) < 3:  # 'openai/whisper-tiny.en' is a hub name
        return
    folder = project_root() / folder
    if (folder / "model.safetensors").is_file() and (folder / "preprocessor_config.json").is_file():
        return
    downloads = project_root() / "data" / "downloads"
    if folder.name == MOONSHINE:
        from aasist_lib.models.moonshine import ensure_moonshine

        ensure_moonshine(folder, downloads)
        return
    from aasist_lib.models.convert import ensure_whisper

    ensure_whisper(folder, downloads)


def _say(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # whoever reads our output, such as `head`, has seen enough
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
            added.add_argument("profile", metavar="CONFIG", help="a profile: a name in configs/, or a path", **many)
            override: dict[str, Any] = {"nargs": "+", "action": "extend", "default": [], "metavar": "KEY=VALUE"}
            added.add_argument("--set", help="e.g. training.epochs=3 seed=2", **override)
        return added

    corpus = add(prepare, "demo")
    corpus.add_argument("--encoder-only", action="store_true", help="leave the corpus out")
    corpus.add_argument("--full", action="store_true", help="with the larger sources")
    corpus.add_argument("--bonafide", metavar="SOURCE", help="debian, librispeech, or a folder with one a speaker")
    add(features, "demo")
    add(train)
    scoring = add(score, profile=False)
    scoring.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="by default runs/demo/checkpoints/best, or that of the profile"
    )
    scoring.add_argument("--profile", metavar="CONFIG", help="score its corpus, with the detector of its run")
    scoring.add_argument("--split", choices=("train", "dev", "eval"), default="eval", help="of the corpus (default eval)")
    scoring.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="of the profile")
    scoring.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="audio files or folders of them")
    scoring.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="a CSV; of a corpus also .parquet, or else the organisers' form"
    )
    scoring.add_argument("--timeline", action="store_true", help="every window's score too, in FILE_timeline.csv")
    scoring.add_argument("--prior-spoof", type=float, default=0.5, metavar="P", help="prior of p_bonafide (default 0.5)")
    scoring.add_argument("--hop", type=float, metavar="SECONDS", help="between windows; by default half a window")
    scoring.add_argument("--scores-only", action="store_true", help="do without calibration: no llr, no p_bonafide")
    evaluation = add(evaluate, profile=False)
    evaluation.add_argument("--scores", type=Path, required=True, metavar="FILE", help="a score file, any known form")
    evaluation.add_argument("--key", type=Path, required=True, metavar="FILE", help="a key, protocol or trial table")
    evaluation.add_argument("--asv", type=Path, metavar="FILE", help="a speaker verifier's scores, for the t-DCF")
    evaluation.add_argument("--by", nargs="+", default=[], metavar="COLUMN", help="break down, e.g. by attack codec")
    evaluation.add_argument("--bootstrap", choices=("trial", "speaker"), default="trial", help="what intervals draw")
    evaluation.add_argument("--out", type=Path, metavar="DIR", help="results; by default a folder beside the scores")
    running = add(run)
    running.add_argument("--only", nargs="+", default=[], metavar="NN", help="numbers of the notebooks to run")
    add(report, "demo")
    return parser


if __name__ == "__main__":
    sys.exit(main())
