"""The ablation: the paper's ideas added to original AASIST, each row trained with several seeds.

The rows are in `ablation_rows`. Every training has a run folder of its own, `ablation/<row>-seed<seed>` in the profile's;
finished trainings are not repeated, and a killed ablation resumes. Rows that cache features share the profile's feature bank,
so they use the same crops and distortions.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from aasist_lib.config import Profile, load_profile, paper_values
from aasist_lib.corpora import load_trials
from aasist_lib.errors import AasistError
from aasist_lib.experiments.ablation_rows import ROWS
from aasist_lib.experiments.probe import run_probe
from aasist_lib.metrics import operating_point, split_classes, summarise
from aasist_lib.metrics.seeds import SeedBootstrap
from aasist_lib.models.checkpoints import load_model
from aasist_lib.models.cost import count_cost, probe_cost
from aasist_lib.models.frontend import build_frontend
from aasist_lib.runtime.files import atomic
from aasist_lib.runtime.kept import Key, changes, clips_digest, make_key, trials_digest
from aasist_lib.runtime.processes import side_by_side
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.scoring import score_split
from aasist_lib.training import EpochRecord, train

SPLITS = ("dev", "eval")
TALK_SECONDS = 60
"""Seconds between two progress lines of a training."""


class AblationError(AasistError, ValueError):
    """An ablation cannot be run; the message says why and how to fix it."""


@dataclass(frozen=True)
class Training:
    """One cell of the ablation: what is trained, where, and the key of its result."""

    row: str
    seed: int
    profile: Profile
    key: Key

    @property
    def name(self) -> str:
        """For messages: 'frozen, seed 2'."""
        return f"{self.row}, seed {self.seed}"

    @property
    def folder(self) -> RunFolder:
        """Its run folder."""
        return RunFolder(self.profile.folder)

    def outcome(self) -> dict[str, Any] | None:
        """The outcome of a finished training; None if there is none, or if it has another key."""
        noted = self.noted()
        there = all(self.scores_file(split).is_file() for split in SPLITS)
        return noted if there and noted.get("key") == self.key else None

    def noted(self) -> dict[str, Any]:
        """The outcome of a finished training in this folder, with any key; empty if there is none."""
        file = self.folder.folder / OUTCOME
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def scores_file(self, split: str) -> Any:
        """The file with the score table of a split."""
        return self.folder.folder / "scores" / f"aasist_{split}.parquet"


OUTCOME = "metrics/outcome.json"


# ---- the whole table -------------------------------------------------------------------------------------------------


def plan_ablation(profile: Profile, run: RunFolder, rows: Sequence[str] = (), seeds: Sequence[int] = ()) -> list[Training]:
    """The trainings of an ablation, row by row.

    Args:
        profile: its section `ablation` gives the default rows and seeds, and the settings of every training.
        run: the profile's run folder; receives `ablation/profile.yaml`, the common settings of all rows.

    Raises:
        AblationError: an unknown row, or a row or seed named twice.
        ConfigError: settings that do not fit; the message names the key.
    """
    rows, seeds = tuple(rows) or profile.ablation.rows, tuple(seeds) or profile.ablation.seeds
    if unknown := [row for row in rows if row not in ROWS]:
        raise AblationError(f"no row {', '.join(unknown)}: ablation.rows may name {', '.join(ROWS)}")
    for name, values in (("rows", rows), ("seeds", seeds)):
        if not values or len(set(values)) < len(values):
            raise AblationError(f"ablation.{name} = {list(values)}: name each once, and at least one")
    start = run.path("ablation", "profile.yaml")
    with atomic(start) as file:
        file.write_text(yaml.safe_dump(profile.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    trials = load_trials(profile.data)
    data = {"the trials": trials_digest(trials), "the clips": clips_digest(trials)}
    trainings = []
    for row in rows:
        for seed in seeds[:1] if ROWS[row].probe else seeds:
            name = f"{row}-seed{seed}"
            folder = str(run.folder / "ablation" / name)
            own = [f"seed={seed}", f"name={json.dumps(f'{profile.name}-{name}')}", f"run_dir={json.dumps(folder)}"]
            of_row = load_profile(start, [*profile.ablation.settings, *ROWS[row].overrides, *own])
            trainings.append(Training(row, seed, of_row, _key(of_row, data)))
    return trainings


def run_ablation(
    profile: Profile,
    run: RunFolder,
    rows: Sequence[str] = (),
    seeds: Sequence[int] = (),
    workers: int | None = None,
    say: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Train every row with every seed and score dev and eval, unless it is finished with the same code, settings and data.

    Args:
        profile, run, rows, seeds: as in `plan_ablation`.
        workers: parallel trainings, each in a process with one thread; None uses the profile's number.
        say: receives one line per finished training.

    Returns:
        one row per training, also in `metrics/ablation.parquet`: `row, seed`, the fractions `dev_eer, eval_eer` (attacks known
        from training, or all where eval has none of them), `eval_frr, eval_far, eval_hter` (as `eval_eer`, at dev's EER
        threshold), `unseen_eer` (the other attacks of eval, else NaN), `min_dcf` (as `eval_eer`), `parameters_trained,
        parameters_frozen`, `gflop_backend, gflop_frontend` (a clip), `seconds` (of training), `epochs, best_epoch,
        switch_epoch` (NaN without a switch).

    Raises:
        AblationError: as `plan_ablation`.
        WorkError: a training failed; the others are stopped, finished trainings are kept, and the same call resumes.
    """
    trainings = plan_ablation(profile, run, rows, seeds)
    missing = [training for training in trainings if training.outcome() is None]
    workers = workers or profile.ablation.workers
    say(f"{len(trainings)} trainings, {len(trainings) - len(missing)} finished before, {workers} at a time")
    for training in missing:
        if noted := training.noted():
            say(f"{training.name}: {changes(noted.get('key'), training.key) or 'its scores are gone'}: trained again")
    known, started = _known_attacks(profile), time.monotonic()
    done = side_by_side(_train, missing, workers, attrgetter("name"))
    for number, training in enumerate(done, start=1):
        measured = _measure(training, known)
        minutes = (time.monotonic() - started) / 60
        say(
            f"{number}/{len(missing)} {training.name}: dev EER {measured['dev_eer']:.2%}, eval EER {measured['eval_eer']:.2%}; "
            f"{minutes:.1f} min, about {minutes / number * (len(missing) - number):.1f} min to go"
        )
    table = pd.DataFrame([_line(training, known) for training in trainings])
    run.write_parquet("metrics/ablation.parquet", table)
    return table


# ---- what the table says ---------------------------------------------------------------------------------------------

HEADINGS = {
    "row": "row", "title": "what changes", "seeds": "seeds", "dev_eer": "dev EER", "dev_sd": "± dev", "eval_eer": "eval EER",
    "eval_sd": "± eval", "eval_frr": "eval FRR", "eval_far": "eval FAR", "eval_hter": "eval HTER", "unseen_eer": "unseen EER",
    "unseen_sd": "± unseen", "min_dcf": "min DCF", "min_dcf_sd": "± DCF", "parameters_trained": "trained parameters",
    "parameters_frozen": "frozen parameters", "gflop_backend": "GFLOP back end", "gflop_frontend": "GFLOP front end",
    "seconds": "seconds", "paper_eer": "paper: EER on ASVspoof 5, quoted",
    "paper_known": "paper: how known",
}  # fmt: skip
_COUNTS = {"min DCF": "{:.3f}", "± DCF": "{:.3f}", "trained parameters": "{:,.0f}", "frozen parameters": "{:,.0f}",
           "GFLOP back end": "{:.3g}", "GFLOP front end": "{:.3g}", "seconds": "{:.0f}"}  # fmt: skip
_MEANS = ("eval_frr", "eval_far", "eval_hter", *list(HEADINGS)[-7:-2])  # and parameters, GFLOP, seconds
FORMATS = {name: _COUNTS.get(name, "{:.2%}") for name in list(HEADINGS.values())[3:-1]}


@dataclass(frozen=True)
class Summary:
    """The ablation table and the gain of each step. Rates are fractions; deviations and p are NaN with one seed.

    `rows`, one line per row of the ablation: `row, title, seeds`; over seeds mean and standard deviation of `dev_eer, dev_sd,
    eval_eer, eval_sd, unseen_eer, unseen_sd, min_dcf, min_dcf_sd`; intervals of the means `dev_low, dev_high, eval_low,
    eval_high`; means of `eval_frr, eval_far, eval_hter` (at each training's own dev threshold), `parameters_trained,
    parameters_frozen, gflop_backend, gflop_frontend, seconds`; `paper_eer, paper_known, baseline`.

    `steps`, one line per row of the table and row that it is compared with (`Row.against`): `row, against`; `difference, low,
    high` of the mean eval EER; `p_value` of the paired t-test over seeds; `exceeds_noise`.
    """

    rows: pd.DataFrame
    steps: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """`rows` with readable columns, to be shown with `FORMATS`; "±" is the standard deviation over seeds."""
        return self.rows[list(HEADINGS)].rename(columns=HEADINGS)


def summarise_ablation(profile: Profile, run: RunFolder, rows: Sequence[str] = (), seeds: Sequence[int] = ()) -> Summary:
    """Means over seeds, and which steps exceed the noise of seeds and trials (`metrics.seeds`).

    Arguments as in `plan_ablation`.

    Raises:
        AblationError: a training is not finished.
    """
    trainings = plan_ablation(profile, run, rows, seeds)
    if missing := [training.name for training in trainings if training.outcome() is None]:
        raise AblationError(f"not trained yet: {'; '.join(missing)}: call run_ablation first")
    known = _known_attacks(profile)
    options: dict[str, Any] = profile.evaluation.model_dump(include={"replicates", "confidence"}) | {"seed": profile.seed}
    table = pd.DataFrame([_line(training, known) for training in trainings])
    drawn = {split: SeedBootstrap(*_by_row(trainings, split, known), **options) for split in SPLITS}
    lines = [_mean_line(row, of_row, drawn) for row, of_row in table.groupby("row", sort=False)]
    there = list(table["row"].unique())
    pairs = [(row, other) for row in there for other in ROWS[row].against if other in there]
    found = [drawn["eval"].compare(row, above) for row, above in pairs]
    compared = [(*astuple(each.difference), each.p_value, each.exceeds_noise) for each in found]
    columns = ["row", "against", "difference", "low", "high", "p_value", "exceeds_noise"]
    return Summary(pd.DataFrame(lines), pd.DataFrame([p + c for p, c in zip(pairs, compared, strict=True)], columns=columns))


def findings(steps: pd.DataFrame) -> list[str]:
    """One sentence per row of `Summary.steps`, in percentage points of EER."""
    sentences = []
    for step in steps.itertuples():
        points = f"{100 * step.difference:+.2f} points ({100 * step.low:+.2f} to {100 * step.high:+.2f})".replace("-", "−")
        if np.isnan(step.p_value):
            verdict = "one seed cannot tell this from chance"
        elif step.exceeds_noise:
            verdict = f"p = {step.p_value:.3f}: {'a gain' if step.difference < 0 else 'a loss'} that exceeds the noise"
        else:
            verdict = f"p = {step.p_value:.3f}: within the noise of seeds and clips, no claim"
        sentences.append(f"{step.row} against {step.against}: {points}, {verdict}")
    return sentences


def _by_row(trainings: list[Training], split: str, known: set[str]) -> tuple[pd.Series, dict[str, list[pd.Series]]]:
    """Labels of the split's selected trials, and each row's scores of them, one series per seed."""
    scores: dict[str, list[pd.Series]] = {}
    for training in trainings:
        table = _asked(pd.read_parquet(training.scores_file(split)), known)
        scores.setdefault(training.row, []).append(table["score"])
    return table["label"], scores


def _mean_line(row: str, table: pd.DataFrame, drawn: Mapping[str, SeedBootstrap]) -> dict[str, Any]:
    line: dict[str, Any] = {"row": row, "title": ROWS[row].title, "seeds": len(table)}
    measures = {"dev_eer": "dev_sd", "eval_eer": "eval_sd", "unseen_eer": "unseen_sd", "min_dcf": "min_dcf_sd"}
    for name, deviation in measures.items():
        line |= {name: table[name].mean(), deviation: table[name].std()}
    for split in SPLITS:
        interval = drawn[split].mean(row)
        line |= {f"{split}_low": interval.low, f"{split}_high": interval.high}
    line |= {name: table[name].mean() for name in _MEANS}
    quoted = paper_values().get(ROWS[row].quoted)
    return line | {
        "paper_eer": quoted.value / 100 if quoted else float("nan"),
        "paper_known": "" if quoted is None else "abstract" if quoted.verified else "unverified",
        "baseline": ROWS[row].baseline,
    }


def _known_attacks(profile: Profile) -> set[str]:
    trials = load_trials(profile.data)
    return set(trials.loc[trials["split"] == "train", "attack"]) - {"-"}


def _asked(table: pd.DataFrame, known: set[str]) -> pd.DataFrame:
    """Bona fide trials and those of known attacks; all trials where there are no known attacks, as in ASVspoof."""
    asked = (table["label"] == "bonafide") | table["attack"].isin(known)
    return table[asked] if table["attack"].isin(known).any() else table


def _measure(training: Training, known: set[str]) -> dict[str, float]:
    dev, test = (pd.read_parquet(training.scores_file(split)) for split in SPLITS)
    unseen = test[(test["label"] == "bonafide") | ~test["attack"].isin(known)]
    both = test["attack"].isin(known).any() and (unseen["label"] == "spoof").any()
    of_dev, of_eval = (summarise(*_classes(_asked(table, known))) for table in (dev, test))
    at = operating_point(*_classes(_asked(test, known)), of_dev["eer_threshold"])
    return {
        "dev_eer": of_dev["eer"],
        "eval_eer": of_eval["eer"],
        **dict(zip(("eval_frr", "eval_far", "eval_hter"), at.rates(), strict=True)),
        "unseen_eer": summarise(*_classes(unseen))["eer"] if both else float("nan"),
        "min_dcf": of_eval["min_dcf"],
    }


def _classes(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return split_classes(table["label"], table["score"])


def _line(training: Training, known: set[str]) -> dict[str, Any]:
    noted = training.outcome()
    if noted is None:
        raise AblationError(f"not trained yet: {training.name}: call run_ablation first")
    facts = {key: value if value is not None else float("nan") for key, value in noted.items() if key != "key"}
    return {"row": training.row, "seed": training.seed, **_measure(training, known), **facts}


def _key(profile: Profile, data: Mapping[str, str]) -> Key:
    settings = profile.training_settings()
    del settings["data"]  # its content counts
    return make_key(
        ["aasist_lib.training.trainer", "aasist_lib.experiments.probe", "aasist_lib.scoring.split", "aasist_lib.models.cost",
         "aasist_lib.models.aasist"], settings, data,
    )  # fmt: skip


# ---- one training ----------------------------------------------------------------------------------------------------


def _train(training: Training) -> None:
    """Train and score one cell and write its outcome."""
    profile, device = training.profile, "cuda" if torch.cuda.is_available() else "cpu"
    run = RunFolder.open(profile, overwrite=True)  # a row with other settings is retrained; its old checkpoint is kept
    if ROWS[training.row].probe:
        started = time.monotonic()
        frontend = build_frontend(profile.model.frontend)
        tables = run_probe(profile, frontend, device)
        facts = {"seconds": time.monotonic() - started, "epochs": None, "best_epoch": None, "switch_epoch": None}
        facts |= asdict(probe_cost(frontend, profile.model.samples))
    else:
        result = train(profile, run, _talk(training))
        model, _ = load_model(result.checkpoint)
        tables = {split: score_split(profile, model, split, device) for split in SPLITS}
        facts = {"seconds": float(result.history["seconds"].sum()), "epochs": len(result.history)}
        facts |= {"best_epoch": result.best_epoch, "switch_epoch": result.switch_epoch}
        facts |= asdict(count_cost(model, profile.model.samples))
    for split, table in tables.items():
        run.write_parquet(training.scores_file(split).relative_to(run.folder), table)
    run.write_json(OUTCOME, {"key": training.key, **facts})


def _talk(training: Training) -> Callable[[EpochRecord], None]:
    """Prints the progress of a training."""
    last, epochs = [time.monotonic()], training.profile.training.epochs

    def tell(record: EpochRecord) -> None:
        if time.monotonic() - last[0] >= TALK_SECONDS:
            print(f"  {training.name}: epoch {record.epoch} of {epochs}, dev EER {record.dev_eer:.2%}", flush=True)
            last[0] = time.monotonic()

    return tell
