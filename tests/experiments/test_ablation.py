"""The ablation on a toy corpus: rows and their switches, what is trained once and only once, and what the table says."""

import numpy as np
import pandas as pd
import pytest
import yaml

from aasist_lib.config import ConfigError, Profile, paper_values
from aasist_lib.experiments import ablation
from aasist_lib.experiments.ablation import ROWS, AblationError, findings, plan_ablation, run_ablation, summarise_ablation
from aasist_lib.metrics import eer, split_classes
from aasist_lib.models import build_model
from aasist_lib.models.paper import SWITCHES
from aasist_lib.runtime.processes import WorkError
from aasist_lib.runtime.run_folder import RunFolder, format_table
from tests.conftest import profile_for


def small(encoder, corpus, folder, **section):
    """The toy profile with a short ablation."""
    chosen = {"seeds": (1, 2), "rows": ("frozen", "paper", "probe"), "settings": ("training.epochs=2",), "workers": 2} | section
    content = profile_for(encoder, corpus, folder).model_dump() | {"ablation": chosen}
    return Profile.model_validate(content | {"evaluation": {"replicates": 50}})


@pytest.fixture(scope="module")
def done(tiny_encoder, tiny_corpus, tmp_path_factory):
    """A profile, its run folder, and what the ablation gave and said."""
    profile = small(tiny_encoder, tiny_corpus, tmp_path_factory.mktemp("ablation"))
    run, said = RunFolder.open(profile), []
    return profile, run, run_ablation(profile, run, say=said.append), said


@pytest.fixture
def profile(tiny_encoder, tiny_corpus, tmp_path):
    return small(tiny_encoder, tiny_corpus, tmp_path)


def test_every_row_sets_every_switch_and_fits_a_profile(profile):
    keys = {override.partition("=")[0] for override in ROWS["frozen"].overrides}
    for row in ROWS.values():
        assert {override.partition("=")[0] for override in row.overrides} >= keys
    models = {training.row: training.profile for training in plan_ablation(profile, RunFolder(profile.folder), list(ROWS), [1])}
    assert list(models) == list(ROWS)
    flat = {row: _switches(of_row) for row, of_row in models.items()}
    assert flat["frozen"] == flat["probe"] == {
        "frontend.kind": "encoder", "frontend.finetune": 0, "graph_attention": "pairwise", "heterogeneous": "type_pairs",
        "fusion": "max", "activation": "selu", "loss": "ce", "rise": False, "batches": "random", "ranking": 0,
    }  # fmt: skip
    assert flat["finetuned"] == flat["frozen"] | {"frontend.finetune": "all"} and not models["finetuned"].training.feature_cache
    assert flat["lfcc"] == flat["frozen"] | {"frontend.kind": "lfcc"}
    assert flat["sinc"] == flat["frozen"] | {"frontend.kind": "sinc"}
    attention, fusion = {"graph_attention", "heterogeneous"}, {"fusion"}
    changed = {(row, other): _changed(flat[other], flat[row]) for row in ROWS for other in ROWS[row].against}
    assert changed == {
        ("finetuned", "sinc"): {"frontend.kind", "frontend.finetune"}, ("frozen", "finetuned"): {"frontend.finetune"},
        ("attention", "frozen"): attention, ("fusion", "frozen"): fusion,
        ("attention_fusion", "attention"): fusion, ("attention_fusion", "fusion"): attention,
        ("balanced", "attention_fusion"): {"batches"}, ("pairs", "balanced"): {"batches", "ranking"},
        ("pairs", "attention_fusion"): {"batches", "ranking"},
        ("paper", "attention_fusion"): {"activation"}, ("paper", "frozen"): attention | fusion | {"activation"},
        ("hybrid", "paper"): {"loss"}, ("rising", "hybrid"): {"rise"}, ("rising", "paper"): {"loss", "rise"},
    }  # fmt: skip


def test_the_row_paper_is_the_published_form_but_for_the_profile_s_extras(profile):
    extras = {"layer_norm": False, "normalise": False, "members": 1}
    (training,) = plan_ablation(profile, RunFolder(profile.folder), ["paper"], [1])
    model = training.profile.model.model_dump()
    assert {key: model[key] for key in SWITCHES if key not in extras} == {k: v for k, v in SWITCHES.items() if k not in extras}


def _changed(before, after):
    return {key for key in before if before[key] != after[key]}


def _switches(profile):
    model, front = profile.model.model_dump(), profile.model.frontend
    chosen = {key: model[key] for key in ("graph_attention", "heterogeneous", "fusion", "activation")}
    chosen |= {"frontend.kind": front.kind, "frontend.finetune": front.finetune, "loss": profile.loss.kind}
    chosen |= {"batches": profile.training.batches, "ranking": profile.loss.ranking}
    return chosen | {"rise": profile.augmentation.rise}


def test_a_profile_s_own_switches_do_not_reach_the_rows(profile):
    other = profile.model_copy(
        update={"model": profile.model.model_copy(update={"fusion": "max", "graph_attention": "pairwise"})}
    )
    run = RunFolder(profile.folder)
    assert [t.key for t in plan_ablation(profile, run)] == [t.key for t in plan_ablation(other, run)]


def test_every_quoted_row_names_an_eer_of_the_paper():
    quoted, values = {row.quoted for row in ROWS.values() if row.quoted}, paper_values()
    assert quoted == {key for key in values if key.startswith("eer_")}
    assert all(values[key].unit == "%" for key in quoted)


def test_the_sinc_row_is_official_aasist(profile):
    (training,) = plan_ablation(profile, RunFolder(profile.folder), ["sinc"], [1])
    model = build_model(training.profile.model)
    assert sum(p.numel() for p in model.parameters()) == 297_866


def test_every_training_is_in_the_table(done):
    profile, run, table, said = done
    assert list(zip(table["row"], table["seed"], strict=True)) == [
        ("frozen", 1), ("frozen", 2), ("paper", 1), ("paper", 2), ("probe", 1),
    ]  # fmt: skip
    pd.testing.assert_frame_equal(table, pd.read_parquet(run.folder / "metrics" / "ablation.parquet"))
    assert said[0] == "5 trainings, 0 finished before, 2 at a time" and len(said) == 6 and said[-1].startswith("5/5 ")
    for line in table.itertuples():
        folder = run.folder / "ablation" / f"{line.row}-seed{line.seed}"
        scores = pd.read_parquet(folder / "scores" / "aasist_eval.parquet")
        assert line.eval_eer == eer(*split_classes(scores["label"], scores["score"]))[0]
        assert (line.epochs == 2 and line.seconds > 0) if line.row != "probe" else np.isnan(line.epochs)
    assert table["unseen_eer"].isna().all(), "the toy corpus has one attack, a known one"


def test_the_rows_are_what_they_say(done):
    _, run, table, _ = done
    by_row = table.groupby("row").first()
    assert by_row.loc["paper", "parameters_trained"] != by_row.loc["frozen", "parameters_trained"]
    assert by_row.loc["probe", "parameters_trained"] == 2 * 4 * 32 + 1
    assert by_row["parameters_frozen"].nunique() == 1 and by_row["gflop_frontend"].nunique() == 1
    config = RunFolder(run.folder / "ablation" / "paper-seed2").manifest["config"]
    assert (config["seed"], config["loss"]["kind"], config["training"]["epochs"]) == (2, "ce", 2)
    assert table.loc[table["row"] == "paper", "seed"].is_unique
    paper = [
        pd.read_parquet(run.folder / "ablation" / f"paper-seed{seed}" / "scores" / "aasist_dev.parquet") for seed in (1, 2)
    ]
    assert not np.allclose(paper[0]["score"], paper[1]["score"])


def test_what_is_finished_is_not_trained_again(done):
    profile, run, table, _ = done
    files = {file: file.stat().st_mtime_ns for file in run.folder.rglob("last.pt")}
    said = []
    again = run_ablation(profile, run, say=said.append)
    assert said == ["5 trainings, 5 finished before, 2 at a time"]
    assert {file: file.stat().st_mtime_ns for file in run.folder.rglob("last.pt")} == files
    pd.testing.assert_frame_equal(again, table)


def test_only_what_a_change_concerns_counts_as_unfinished(done):
    profile, run, _, _ = done

    def missing(changed, *rows):
        return [training.name for training in plan_ablation(changed, run, *rows) if training.outcome() is None]

    assert missing(profile) == []
    gamma = profile.model_copy(update={"loss": profile.loss.model_copy(update={"gamma": 1.0})})
    assert len(missing(gamma)) == 5
    fewer_draws = profile.model_copy(update={"evaluation": profile.evaluation.model_copy(update={"replicates": 99})})
    assert missing(fewer_draws) == []
    assert missing(profile, ["frozen", "fusion"], [2, 3]) == ["frozen, seed 3", "fusion, seed 2", "fusion, seed 3"]
    plan_ablation(profile, run)


def test_a_training_without_its_scores_is_not_finished(done):
    profile, run, _, _ = done
    training = plan_ablation(profile, run)[0]
    file = training.scores_file("dev")
    content = file.read_bytes()
    file.unlink()
    assert training.outcome() is None
    file.write_bytes(content)
    assert training.outcome() is not None


def test_a_killed_training_goes_on_where_it_stopped(done, tmp_path):
    """Its outcome is lost, its last checkpoint is there: no epoch is run again, and the result is the same."""
    profile, run, table, _ = done
    training = plan_ablation(profile, run)[0]
    (training.folder.folder / ablation.OUTCOME).unlink()
    history = training.folder.folder / "metrics" / "history.parquet"
    before = history.read_bytes()  # it holds the seconds that every epoch took
    again = run_ablation(profile, run, workers=1, say=lambda line: None)
    assert history.read_bytes() == before
    pd.testing.assert_frame_equal(again, table)


def test_the_summary_has_mean_spread_and_the_paper_beside_it(done):
    profile, run, table, _ = done
    found = summarise_ablation(profile, run)
    rows = found.rows.set_index("row")
    frozen = table[table["row"] == "frozen"]
    assert rows.loc["frozen", "eval_eer"] == pytest.approx(frozen["eval_eer"].mean())
    assert rows.loc["frozen", "dev_sd"] == pytest.approx(frozen["dev_eer"].std())
    assert (rows["eval_low"] <= rows["eval_eer"]).all() and (rows["eval_eer"] <= rows["eval_high"]).all()
    assert rows.loc["paper", "paper_eer"] == paper_values()["eer_all"].value / 100 and np.isnan(rows.loc["probe", "paper_eer"])
    assert list(rows["seeds"]) == [2, 2, 1] and np.isnan(rows.loc["probe", "eval_sd"])
    shown = format_table(found.table(), ablation.FORMATS)
    quoted = [paper_values()[key].value for key in ("eer_frozen", "eer_all")]
    assert list(shown["paper: EER on ASVspoof 5, quoted"]) == [*(f"{value:.2f}%" for value in quoted), "–"]
    assert list(shown["paper: how known"]) == ["unverified", "abstract", ""] and shown["± eval"].iloc[2] == "–"
    (step,) = found.steps.itertuples()
    assert (step.row, step.against) == ("paper", "frozen")
    assert step.difference == pytest.approx(rows.loc["paper", "eval_eer"] - rows.loc["frozen", "eval_eer"])


def test_a_row_is_compared_with_the_rows_it_names_and_a_baseline_with_none(done, monkeypatch):
    profile, run, _, _ = done
    stand_in = {"attention": "paper", "fusion": "frozen"}

    def elsewhere(training, split):
        name = f"{stand_in.get(training.row, training.row)}-seed{training.seed}"
        return run.folder / "ablation" / name / "scores" / f"aasist_{split}.parquet"

    noted = plan_ablation(profile, run)[0].outcome()
    monkeypatch.setattr(ablation.Training, "scores_file", elsewhere)
    monkeypatch.setattr(ablation.Training, "outcome", lambda training: noted)
    found = summarise_ablation(profile, run, ["probe", "frozen", "attention", "fusion"])
    pairs = list(zip(found.steps["row"], found.steps["against"], strict=True))
    assert pairs == [("attention", "frozen"), ("fusion", "frozen")]
    assert found.steps["difference"].iloc[1] == 0 and not found.steps["exceeds_noise"].iloc[1]


def test_known_and_unseen_attacks_stand_apart(done):
    profile, run, _, _ = done
    training = plan_ablation(profile, run)[0]
    table = pd.read_parquet(training.scores_file("eval"))
    spoofed = table.index[table["label"] == "spoof"]
    part = table.assign(attack=table["attack"].where(~table.index.isin(spoofed[:3]), "other"))
    original = training.scores_file("eval").read_bytes()
    try:
        part.to_parquet(training.scores_file("eval"), index=False)
        found = ablation._measure(training, {"tone"})
        nothing_known = ablation._measure(training, {"elsewhere"})
    finally:
        training.scores_file("eval").write_bytes(original)
    for name, kept in (("eval_eer", part["attack"] != "other"), ("unseen_eer", part["attack"] != "tone")):
        chosen = part[kept]
        assert found[name] == eer(*split_classes(chosen["label"], chosen["score"]))[0]
    assert nothing_known["eval_eer"] == eer(*split_classes(table["label"], table["score"]))[0]
    assert np.isnan(nothing_known["unseen_eer"])


def test_findings_follow_the_numbers():
    rows = [
        ("b", "a", -0.0123, -0.02, -0.005, 0.01, True),
        ("c", "b", 0.02, 0.01, 0.03, 0.004, True),
        ("d", "c", -0.01, -0.02, -0.001, 0.2, False),
        ("e", "d", -0.01, -0.02, -0.001, np.nan, False),
    ]
    columns = ["row", "against", "difference", "low", "high", "p_value", "exceeds_noise"]
    assert findings(pd.DataFrame(rows, columns=columns)) == [
        "b against a: −1.23 points (−2.00 to −0.50), p = 0.010: a gain that exceeds the noise",
        "c against b: +2.00 points (+1.00 to +3.00), p = 0.004: a loss that exceeds the noise",
        "d against c: −1.00 points (−2.00 to −0.10), p = 0.200: within the noise of seeds and clips, no claim",
        "e against d: −1.00 points (−2.00 to −0.10), one seed cannot tell this from chance",
    ]


def test_the_start_of_all_rows_is_written_and_is_the_profile(profile):
    run = RunFolder(profile.folder)
    plan_ablation(profile, run)
    content = yaml.safe_load((run.folder / "ablation" / "profile.yaml").read_text(encoding="utf-8"))
    assert Profile.model_validate(content) == profile


def test_what_cannot_be_run_is_refused_before_anything_starts(profile):
    run = RunFolder(profile.folder)
    with pytest.raises(AblationError, match="magic: ablation.rows .*finetuned, frozen"):
        plan_ablation(profile, run, ["magic"])
    with pytest.raises(AblationError, match=r"ablation\.seeds = \[1, 1\]: "):
        plan_ablation(profile, run, ["frozen"], [1, 1])
    wrong = profile.model_copy(update={"ablation": profile.ablation.model_copy(update={"settings": ("training.epoch=2",)})})
    with pytest.raises(ConfigError, match="^--set training.epoch=2: .*'training.epoch'.*'training.epochs'"):
        plan_ablation(wrong, run)
    with pytest.raises(AblationError, match="frozen, seed 1; .*run_ablation"):
        summarise_ablation(profile, run)


def test_a_training_that_fails_stops_all_with_its_row_and_seed(profile):
    section = profile.ablation.model_copy(
        update={"settings": ("training.learning_rate=1e30", "training.epochs=1"), "workers": 1}
    )
    failing = profile.model_copy(update={"ablation": section})
    with pytest.raises(WorkError, match=r"frozen, seed 1: TrainingError: epoch 1, step \d: .*\bnan\b"):
        run_ablation(failing, RunFolder.open(failing), ["frozen"], [1], say=lambda line: None)
