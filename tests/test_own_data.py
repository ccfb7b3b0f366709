"""A user's own corpus, from a folder of files to a profile that trains on it; nothing is written into the folder."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aasist_lib import __main__ as cli
from aasist_lib.__main__ import main
from aasist_lib.config import Profile, load_profile
from aasist_lib.corpora import TrialTableError, load_trials
from aasist_lib.corpora.splits import split_by_speaker
from aasist_lib.runtime.run_folder import RunFolder
from tests.conftest import ROOT, make_encoder
from tests.notebooks import toys

SPEAKERS = ("ann", "ben", "cleo", "dan", "eve")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a profile `mine` on an unsplit folder of five speakers and two attacks; the working directory."""
    root = toys.project(tmp_path / "project")
    rng = np.random.default_rng(0)
    for place in (*(f"bonafide/{name}" for name in SPEAKERS), *(f"spoof/{attack}/{name}" for attack in ("vits", "xtts")
                                                                for name in SPEAKERS)):  # fmt: skip
        (tmp_path / "clips" / place).mkdir(parents=True)
        for number in range(2):
            soundfile.write(tmp_path / "clips" / place / f"{number}.wav", 0.1 * rng.standard_normal(8_000), 16_000)
    values = yaml.safe_load((ROOT / "configs" / "tiny.yaml").read_text()) | {"name": "mine", "title": "Mine"}
    values["data"] = {"corpus": "folder", "root": str(tmp_path / "clips")}
    values["model"] |= {"frontend": {"name": str(make_encoder(tmp_path / "encoder")), "layer": "weighted"}, "samples": 8_000}
    (root / "configs" / "mine.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(root)
    return root


def test_a_folder_that_is_not_divided_is_told_how_and_the_way_works(project: Path, capsys) -> None:
    before = sorted((project.parent / "clips").rglob("*"))
    assert main(["prepare", "mine"]) == 2
    said = capsys.readouterr()
    assert "audio: 30 of 30 clips can be read to their end" in said.out
    remedy = re.search(r"split 'train' has no trials, .*: python -m aasist_lib (prepare mine --split-by speaker)", said.err)
    assert remedy and "sort the clips into train/, dev/ and eval/" in said.err
    assert main(remedy[1].split()) == 0
    told = re.search(r"--set (data.corpus=table data.root=\S+)", capsys.readouterr().out)
    assert told
    trials = load_trials(load_profile("mine", told[1].split()).data)
    assert (trials.groupby("speaker")["split"].nunique() == 1).all() and set(trials["split"]) == {"train", "dev", "eval"}
    assert (trials.groupby("split")["label"].nunique() == 2).all() and len(trials) == 30
    assert main(["prepare", "mine", "--set", *told[1].split()]) == 0
    assert sorted((project.parent / "clips").rglob("*")) == before, "nothing is written into a user's own folder"
    assert main(remedy[1].split()) == 2 and "already exists: add --overwrite" in capsys.readouterr().err
    assert main([*remedy[1].split(), "--overwrite"]) == 0


def test_features_and_what_is_known_to_be_sound_lie_in_the_project_or_where_a_key_says(project: Path, tmp_path: Path) -> None:
    clips = project.parent / "clips"
    main(["prepare", "mine", "--split-by", "speaker"])
    use = ["--set", "data.corpus=table", "data.root=data/mine_trials.csv"]
    before = sorted(clips.rglob("*"))
    assert main(["features", "mine", *use]) == 0
    assert main(["features", "mine", *use, f"data.cache={tmp_path / 'large disk'}"]) == 0
    assert sorted(clips.rglob("*")) == before
    for cache in (project / "data" / "cache" / "mine_trials", tmp_path / "large disk"):
        assert (cache / "checked.parquet").is_file() and len(list(cache.glob("features/*/bank.json"))) == 3


def test_links_are_followed_and_what_is_no_audio_is_counted(project: Path, capsys) -> None:
    clips = project.parent / "clips"
    shutil.move(clips / "spoof" / "vits", project.parent / "elsewhere")
    (clips / "spoof" / "vits").symlink_to(project.parent / "elsewhere")
    (project.parent / "elsewhere" / "again").symlink_to(project.parent / "elsewhere")
    for name in ("._0.wav", ".DS_Store", "notes.txt"):
        (clips / "bonafide" / "ann" / name).touch()
    main(["prepare", "mine"])
    said = capsys.readouterr().out
    assert "30 of 30 clips can be read" in said
    assert "not audio, left out: 1 '.txt' files, 2 files that a system keeps for itself" in said
    assert "1 folders that a link leads to again" in said
    (clips / "spoof" / "again").symlink_to(clips)
    assert main(["prepare", "mine"]) == 2
    one, other = clips / "spoof" / "again" / "bonafide" / "ann" / "0.wav", clips / "bonafide" / "ann" / "0.wav"
    assert f"{one} is the same file as {other}: remove the link to one of them" in capsys.readouterr().err


def test_a_clip_that_is_half_there_is_named_before_anything_is_trained(project: Path, capsys) -> None:
    broken = project.parent / "clips" / "bonafide" / "ann" / "0.wav"
    broken.write_bytes(broken.read_bytes()[:9_000])
    assert main(["prepare", "mine", "--split-by", "speaker"]) == 2
    said = capsys.readouterr().err
    assert f"{broken}" in said and "cut off" in said


# ---- the split -------------------------------------------------------------------------------------------------------


def trials_of(bonafide: dict[str, int], spoofed: dict[str, int]) -> pd.DataFrame:
    """Make trials with the given number of clips per speaker."""
    rows = [(label, speaker) for label, counts in (("bonafide", bonafide), ("spoof", spoofed))
            for speaker, count in counts.items() for _ in range(count)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["label", "speaker"])
    attack = np.where(table["label"] == "bonafide", "-", "a1")
    return table.assign(utt_id=[f"u{number}" for number in range(len(table))], attack=attack, split="eval")


@given(
    bonafide=st.lists(st.integers(1, 60), min_size=3, max_size=12),
    spoofed=st.lists(st.integers(1, 60), min_size=3, max_size=12),
    shared=st.booleans(),
    seed=st.integers(0, 5),
)
def test_no_speaker_is_in_two_splits_and_every_split_has_both_classes(bonafide, spoofed, shared, seed) -> None:
    table = trials_of(
        {f"s{number}": count for number, count in enumerate(bonafide)},
        {f"{'s' if shared and len(spoofed) >= len(bonafide) else 'v'}{number}": count for number, count in enumerate(spoofed)},
    )
    divided, notes = split_by_speaker(table, seed)
    assert notes == [] and divided["utt_id"].tolist() == table["utt_id"].tolist()
    assert (divided.groupby("speaker")["split"].nunique() == 1).all()
    assert (divided.groupby("split")["label"].nunique() == 2).all() and divided["split"].nunique() == 3


def test_shares_are_met_where_speakers_are_many() -> None:
    divided, _ = split_by_speaker(trials_of({f"s{n}": 10 + n % 7 for n in range(60)}, {f"s{n}": 20 for n in range(60)}))
    shares = divided.groupby(["label", "split"]).size() / divided.groupby("label").size()
    np.testing.assert_allclose([shares["bonafide", part] for part in ("train", "dev", "eval")], (0.6, 0.2, 0.2), atol=0.03)


def test_spoofs_of_nobody_are_divided_by_chance_and_that_is_said() -> None:
    divided, notes = split_by_speaker(trials_of({"a": 10, "b": 10, "c": 10}, {"-": 50}))
    assert divided[divided["speaker"] == "-"]["split"].value_counts().to_dict() == {"train": 30, "dev": 10, "eval": 10}
    assert notes == ["50 spoofed (a1) clips name no speaker: divided by chance, so a voice may be in two splits"]


@pytest.mark.parametrize(
    ("bonafide", "spoofed", "said"),
    [
        ({"a": 5, "b": 5}, {"a": 9, "b": 9}, r"three speakers.*\b2\b.*folders"),
        ({"-": 50}, {"-": 50}, r"three speakers.*\b0\b"),
        ({"a": 5, "b": 5, "c": 5}, {"v": 9}, "no spoof in "),
    ],
)
def test_a_split_that_cannot_be_is_refused(bonafide: dict, spoofed: dict, said: str) -> None:
    with pytest.raises(TrialTableError, match=said):
        split_by_speaker(trials_of(bonafide, spoofed))


# ---- the guide and its profile ---------------------------------------------------------------------------------------


def test_every_key_stands_in_the_profile_to_begin_with_and_has_a_comment() -> None:
    text = (ROOT / "configs" / "mine.yaml").read_text(encoding="utf-8")
    assert load_profile("mine").name == "mine"
    lines = [line for line in text.splitlines() if re.match(r"\s*(# )?[a-z_]+:", line)]
    for line in lines:
        assert "#" in line.lstrip("# "), f"no comment: {line}"
    named = {match[1] for match in re.finditer(r"^\s*(?:# )?([a-z_]+):", text, re.MULTILINE)}
    assert wanted_keys(Profile) <= named, wanted_keys(Profile) - named


def test_the_keys_that_are_commented_out_are_the_defaults(tmp_path: Path) -> None:
    text = (ROOT / "configs" / "mine.yaml").read_text(encoding="utf-8")
    whole = re.sub(r"^( *)# ([a-z_]+:)", r"\1\2", text, flags=re.MULTILINE)
    assert whole != text
    (tmp_path / "whole.yaml").write_text(whole, encoding="utf-8")
    assert load_profile(tmp_path / "whole.yaml") == load_profile("mine")


def test_the_modules_that_the_page_on_kept_results_names_are_there() -> None:
    text = (ROOT / "docs" / "kept.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", text))
    assert len(named) >= 8
    for name in named:
        assert (ROOT / "aasist_lib" / name).is_file() or (ROOT / name).is_file(), name


def wanted_keys(model: type) -> set[str]:
    """Return the keys of a section and its subsections."""
    names = set()
    for name, field in model.model_fields.items():
        names.add(name)
        inner = field.annotation
        if hasattr(inner, "model_fields"):
            names |= wanted_keys(inner)
    return names


def test_the_guide_s_commands_are_commands() -> None:
    text = (ROOT / "docs" / "own_data.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python -m aasist_lib (.*?)(?: +#.*)?$", text, re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        options = cli._parser().parse_args(shlex.split(command))
        if getattr(options, "profile", None):
            load_profile(options.profile, getattr(options, "set", []))


# ---- from another working directory ----------------------------------------------------------------------------------


def test_score_works_from_anywhere(headless_run: RunFolder, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(50_000), 16_000)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [
        sys.executable,
        "-m",
        "aasist_lib",
        "score",
        "a.wav",
        "--checkpoint",
        str(headless_run.folder / "checkpoints/best"),
    ]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^a\.wav +(bonafide|spoof) +[≥≤]? ?\d", done.stdout, re.MULTILINE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav"], "without --out nothing is written"
    nothing = subprocess.run([*command[:5]], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    if nothing.returncode:
        assert f"{ROOT / 'runs' / 'demo'}" in nothing.stderr, "the demo's detector is looked for in the project"


def test_papermill_works_from_anywhere(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = "".join(f"u{n} {rng.normal(n % 2)} {('spoof', 'bonafide')[n % 2]}\n" for n in range(60))
    (tmp_path / "s.txt").write_text(rows)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    notebook = ROOT / "notebooks" / "05_eer_analysis.ipynb"
    settings = f"evaluation.replicates=20 run_dir={tmp_path / 'run'}"
    command = [sys.executable, "-m", "papermill", str(notebook), "out.ipynb", "-p", "PROFILE", "tiny", "-p", "SET", settings]
    done = subprocess.run(
        [*command, "-p", "SCORES", str(tmp_path / "s.txt")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "run" / "metrics" / "results.json").is_file()
