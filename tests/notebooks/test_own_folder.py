"""A user's own clips sorted into folders, without speaker, attack or codec labels."""

from __future__ import annotations

import shutil

import nbformat
import pandas as pd
import pytest
import yaml

from aasist_lib.__main__ import main
from aasist_lib.runtime.run_folder import RunFolder
from tests.conftest import ROOT, make_corpus, make_encoder, profile_for

STORY = {"plain": ("01", "02", "03", "04", "05", "07"), "speakers and attacks": ("01", "03", "05", "07")}


@pytest.fixture(scope="module", params=STORY)
def layout(request: pytest.FixtureRequest) -> str:
    """Clips are in `train/bonafide/` and so on, or in subfolders there for speakers and attacks."""
    return request.param


@pytest.fixture(scope="module")
def run(layout: str, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of these notebooks on `train/`, `dev/` and `eval/`, with `bonafide/` and `spoof/` in each."""
    folder = tmp_path_factory.mktemp("own")
    corpus, encoder = folder / "toy", folder / "encoder"
    corpus.mkdir()
    for number, clip in enumerate(pd.read_parquet(make_corpus(corpus, 24) / "trials.parquet").itertuples()):
        place = folder / "sorted" / clip.split / clip.label
        if layout != "plain":
            names = ("vits", "hifigan") if clip.label == "spoof" else (f"{clip.split}-anna", f"{clip.split}-ben")
            place = place / names[number // 2 % 2]
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip.path, place)
    values = profile_for(make_encoder(encoder), corpus, folder).model_dump(mode="json")
    values["data"] |= {"corpus": "folder", "root": str(folder / "sorted")}
    values["evaluation"] |= {"replicates": 50}
    (folder / "own.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    before = sorted((folder / "sorted").rglob("*"))
    assert main(["run", str(folder / "own.yaml"), "--only", *STORY[layout]]) == 0
    assert sorted((folder / "sorted").rglob("*")) == before, "nothing is written into a user's own folder"
    return RunFolder(folder / "run")


def test_every_notebook_leaves_what_it_promises_and_the_report_shows_them(run: RunFolder, layout: str) -> None:
    for number in STORY[layout]:
        (notebook,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
        promised = nbformat.read(notebook, 4).metadata["aasist"]["artefacts"]
        assert [name for name in promised if not list(run.folder.glob(name))] == [], number
    assert "Score your recordings" in (run.folder / "report" / "index.html").read_text(encoding="utf-8")


def test_attacks_that_are_not_told_are_called_neither_known_nor_unseen(run: RunFolder, layout: str) -> None:
    results = pd.DataFrame(run.read_json("metrics/results.json"))
    assert set(results["attacks"]) == ({"untold"} if layout == "plain" else {"known"})
    assert set(results["split"]) == {"dev", "eval"} and set(results["bonafide"]) == set(results["spoof"]) == {12}
    if layout == "plain":
        executed = (run.folder / "notebooks" / "05_eer_analysis.ipynb").read_text(encoding="utf-8")
        assert "all attacks" in executed and 'unseen attacks"' not in executed
        assert "untold" in (run.folder / "notebooks" / "04_attention.ipynb").read_text(encoding="utf-8")


def test_speakers_that_are_not_told_are_not_drawn(run: RunFolder) -> None:
    comparison = pd.DataFrame(run.read_json("metrics/comparison.json"))
    assert set(comparison["drawn"]) == {"trials"}, "spoofed clips have no speaker labels in either layout"
