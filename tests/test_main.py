"""The command line: exit codes, one-line errors, and the functions that each command calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from aasist_lib import __main__ as cli
from aasist_lib.config import Profile
from aasist_lib.runtime.kept import make_key
from aasist_lib.runtime.run_folder import RunFolder
from tests.notebooks import toys

ROOT = Path(__file__).parent.parent


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toy project that is the working directory."""
    monkeypatch.chdir(toys.project(tmp_path / "project"))
    return Path.cwd()


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from aasist_lib.__main__ import main\n"
        "try: main(['--help'])\nexcept SystemExit as end: assert end.code == 0\n"
        "print(sorted({'torch', 'pandas', 'papermill', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    for command in ("prepare", "features", "train", "calibrate", "score", "evaluate", "run", "report"):
        assert f"\n    {command}" in done.stdout
    assert done.stdout.endswith("[]\n"), done.stdout[-200:] + done.stderr


def test_an_error_of_the_library_is_one_message_and_code_2(project: Path, capsys) -> None:
    assert cli.main(["run", "toy", "--set", "seed=1", "training.epochs=0"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and "'training.epochs' = 0" in err and err.count("\n") == 1
    assert cli.main(["report", "toy"]) == 2
    assert "manifest.json: missing" in capsys.readouterr().err


def test_a_defect_keeps_its_traceback(project: Path, monkeypatch) -> None:
    monkeypatch.setattr(cli, "load_profile", lambda *_: {}["missing"])
    with pytest.raises(KeyError):
        cli.main(["report", "toy"])


def test_a_reader_that_has_seen_enough_ends_the_command_quietly() -> None:
    code = "import time; from aasist_lib.__main__ import _say; time.sleep(0.5); [_say('x' * 99) for _ in range(9999)]"
    command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    command.stdout.close()
    assert command.stderr.read() == b"" and command.wait() == 141


def test_run_passes_everything_on(project: Path, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr("aasist_lib.workbook.run", lambda *arguments: calls.append(arguments) or 143)
    assert cli.main(["run", "toy", "--only", "03", "05", "--set", "seed=2", "--set", "training.epochs=3"]) == 143
    assert calls == [("toy", ["seed=2", "training.epochs=3"], ["03", "05"], False)]
    assert cli.main(["run", "toy", "--overwrite"]) == 143 and calls[1] == ("toy", [], [], True)


def test_prepare_fetches_the_encoder_only_where_it_is_named_and_missing(project: Path, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr("demo_corpus.encoders.whisper.ensure_whisper", lambda *paths: calls.append(paths))
    assert cli.main(["prepare", "toy", "--encoder-only"]) == 0
    assert cli.main(["prepare", "toy", "--encoder-only", "--set", "model.frontend.name=openai/whisper-tiny.en"]) == 0
    assert calls == []
    local = ["prepare", "toy", "--encoder-only", "--set", "model.frontend.name=data/encoders/whisper-tiny.en"]
    assert cli.main(local) == 0
    folder = project / "data" / "encoders" / "whisper-tiny.en"
    assert calls == [(folder, project / "data" / "downloads")]
    folder.mkdir(parents=True)
    for name in ("model.safetensors", "preprocessor_config.json"):
        (folder / name).touch()
    assert cli.main(local) == 0 and len(calls) == 2, "unknown which code converted it"
    (folder / "converted_by.json").write_text(json.dumps(make_key(["demo_corpus.encoders.whisper"], {})))
    assert cli.main(local) == 0 and len(calls) == 2


def test_prepare_builds_the_corpus_that_is_asked_for(project: Path, monkeypatch, capsys) -> None:
    seen = []

    class Report:
        root, clips, made, skipped = Path("data/demo"), 12, 5, {"a.wav": "no sound"}

    monkeypatch.setattr("demo_corpus.build", lambda data, say: seen.append(data) or Report)
    assert cli.main(["prepare", "toy", "--full", "--bonafide", "recordings"]) == 0
    assert (seen[0].full, seen[0].bonafide) == (True, "recordings")
    out = capsys.readouterr().out
    assert "12 clips in data/demo, 5 made now, 1 skipped" in out
    assert "--set data.bonafide=recordings data.full=true" in out


def test_evaluate_prints_writes_and_warns(tmp_path: Path, capsys) -> None:
    scores, key = tmp_path / "scores.txt", tmp_path / "key.txt"
    scores.write_text("a 2\nb 1\nc -1\nd 1.5\n")
    key.write_text("a bonafide\nb bonafide\nc spoof\nd spoof\n")
    command = ["evaluate", "--scores", str(scores), "--key", str(key)]
    assert cli.main(command) == 0
    out, err = capsys.readouterr()
    rows = {line.split()[0]: line.split()[1] for line in out.splitlines()}
    assert rows["bonafide"] == rows["spoof"] == "2" and rows["eer"] == "50.000%" and not err
    assert set(rows) >= {"eer_threshold", "min_dcf", "act_dcf", "cllr", "min_cllr"}
    assert (tmp_path / "scores_evaluation" / "evaluation.json").is_file()
    assert (tmp_path / "scores_evaluation" / "figures" / "det.svg").is_file()
    scores.write_text("a -2\nb -1\nc 1\nd 1.5\n")
    assert cli.main([*command, "--out", str(tmp_path / "elsewhere")]) == 0
    assert "warning: THE SIGN" in capsys.readouterr().err
    assert (tmp_path / "elsewhere" / "evaluation.json").is_file()


def test_evaluate_refuses_before_it_computes(tmp_path: Path, capsys) -> None:
    scores, key = tmp_path / "scores.txt", tmp_path / "key.txt"
    scores.write_text("a 2\nb 1\nc -1\nd 1.5\n")
    key.write_text("a bonafide\nb bonafide\nc spoof\n")
    command = ["evaluate", "--scores", str(scores), "--key", str(key)]
    assert cli.main(command) == 2
    assert "error: 1 of 4 ids of" in capsys.readouterr().err
    scores.write_text("a 2\nb 1\nc -1\n")
    assert cli.main([*command, "--bootstrap", "speaker"]) == 2
    assert "no speaker for 3 of 3" in capsys.readouterr().err
    assert cli.main([*command, "--key", str(tmp_path / "none")]) == 2
    with pytest.raises(SystemExit):
        cli.main([*command, "--bootstrap", "codec"])


def test_evaluate_takes_the_organisers_files(tmp_path: Path, capsys) -> None:
    scores, key, asv = (tmp_path / name for name in ("scores.txt", "key.txt", "asv.txt"))
    kinds = [("bonafide", "-")] * 4 + [("spoof", "A07")] * 4 + [("spoof", "A08")] * 4
    scores.write_text("".join(f"u{i} {attack} {kind} {-i}\n" for i, (kind, attack) in enumerate(kinds)))
    key.write_text("".join(f"S{i % 3} u{i} - {attack} {kind}\n" for i, (kind, attack) in enumerate(kinds)))
    asv.write_text("bonafide target 3\nbonafide target 4\nbonafide nontarget -1\nA07 spoof 3.5\n")
    files = ["--scores", str(scores), "--key", str(key), "--asv", str(asv)]
    assert cli.main(["evaluate", *files, "--by", "attack", "--bootstrap", "speaker"]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    assert float(rows["min_tdcf_2019"][0]) == 0 and rows["A08"][:3] == ["cell", "4", "4"] and "3 speakers" in out
    assert (tmp_path / "scores_evaluation" / "figures" / "breakdown.pdf").is_file()


def test_features_train_and_score_do_the_real_work(tiny_profile: Profile, project: Path, tmp_path, capsys) -> None:
    values = tiny_profile.model_dump(mode="json") | {"training": {"epochs": 1, "batch_size": 4}}
    (project / "configs" / "tiny.yaml").write_text(yaml.safe_dump(values))
    assert cli.main(["features", "tiny"]) == 0
    assert "features: dev, 12 clips in 1 views" in capsys.readouterr().out
    assert cli.main(["train", "tiny"]) == 0
    assert "epoch   1" in (out := capsys.readouterr().out) and "best epoch 1" in out
    assert RunFolder(tiny_profile.folder).manifest["name"] == "toy"
    checkpoint, out, broken = (
        str(tiny_profile.folder / "checkpoints" / "best"),
        tmp_path / "scores.csv",
        tmp_path / "broken.wav",
    )
    broken.write_bytes(b"RIFF")
    files = str(tiny_profile.data.root)
    command = ["score", "--out", str(out), "--checkpoint", checkpoint]
    assert cli.main([*command, files]) == 0
    assert len(out.read_text().splitlines()) == 37
    said = capsys.readouterr()
    assert "36 of 36 recordings scored" in said.out and "for a prior of spoof of 0.5" in said.out
    assert "warning: This detector was trained on “Toy”" in said.err and "dev0.flac" in said.out
    assert cli.main([*command, files, str(broken), "--timeline", "--prior-spoof", "0.01", "--hop", "0.4"]) == 1
    said = capsys.readouterr()
    assert f"left out: {broken}: cannot be read" in said.err and "for a prior of spoof of 0.01" in said.out
    assert (tmp_path / "scores_timeline.csv").is_file() and (tmp_path / "scores_left_out.csv").is_file()
    assert cli.main([*command, str(broken)]) == 2
    assert "nothing could be scored" in capsys.readouterr().err
    assert cli.main([*command, files, "--hop", "0.6"]) == 2 and "hop = 0.6 s" in capsys.readouterr().err
    assert cli.main([*command, files, "--scores-only"]) == 0
    assert "llr" not in out.read_text() and "prior" not in capsys.readouterr().out
    for option, value in (("--always", []), ("--hop", ["0.4"]), ("--channels", ["each"])):
        assert cli.main(["score", "--profile", "tiny", "--out", str(out), option, *value]) == 2
        assert f"error: {option} is for recordings" in capsys.readouterr().err
    soundfile.write(tmp_path / "silence.wav", np.zeros(32_000), 16_000)
    for always, decided in (([], False), (["--always"], True)):
        assert cli.main([*command, str(tmp_path / "silence.wav"), *always]) == 0
        said = capsys.readouterr()
        assert ("decides every recording (--always)" in said.err) == decided
        assert pd.read_csv(out)["decision"].isin(["bonafide", "spoof"]).all() == decided


def test_score_takes_the_demo_s_checkpoint_unless_told_another(project: Path, tmp_path: Path, capsys) -> None:
    assert cli.main(["score", str(tmp_path / "a.wav"), "--out", str(tmp_path / "scores.csv")]) == 2
    missing = project / "runs" / "demo" / "checkpoints" / "best" / "model.safetensors"
    assert f"error: {missing}: no such checkpoint; train first" in capsys.readouterr().err


def test_two_processes_of_accelerate_train_one_model(tiny_profile: Profile, project: Path) -> None:
    values = tiny_profile.model_dump(mode="json")
    values["training"] |= {"epochs": 2, "batch_size": 4}
    (project / "configs" / "tiny.yaml").write_text(yaml.safe_dump(values))
    # accelerate 1.15's `accelerate launch` starts only one process on CPU, whatever the number; torch's launcher works.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [*launch, "-m", "aasist_lib", "train", "tiny"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("training: 2 processes") == 1
    lines = [line.split()[:2] for line in done.stdout.splitlines() if line.startswith(("epoch", "best"))]
    assert lines == [["epoch", "1"], ["epoch", "2"], ["best", "epoch"]]
    assert (tiny_profile.folder / "checkpoints" / "best" / "model.safetensors").is_file()
