"""The steps of a build one by one, in this process; whole builds are in test_demo_build.py."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from aasist_lib.config import DataConfig
from aasist_lib.corpora import read_trials
from aasist_lib.corpora.table import COLUMNS
from aasist_lib.runtime.kept import changes
from demo_corpus import builder, channel
from demo_corpus.attacks import ATTACKS, Source
from demo_corpus.builder import BuildReport, _Outcome, build, codec_of, reference, render
from demo_corpus.packages import SourceError
from demo_corpus.plan import Clip, Task
from demo_corpus.seeds import generator
from demo_corpus.sources import Recording
from tests.demo_corpus.conftest import RATE, talk

BONAFIDE, SPOOF = Clip("dev-ann-0000-bonafide", "-", "ann"), Clip("dev-ann-0000-half", "half", "espeak-cs+m1")


def quiet(_: str) -> None:
    """A `say` that says nothing."""


@pytest.fixture
def task(tmp_path: Path, monkeypatch) -> Task:
    """A recording of 1.8 s and two clips of it; the attack 'half' is the source at half its level."""
    monkeypatch.setitem(ATTACKS, "half", lambda source, rng: source.wave / {"cs": 2}[source.language])
    soundfile.write(tmp_path / "a.wav", talk(1), RATE)
    return Task(Recording(tmp_path / "a.wav", "ann", "cs", "dev"), (BONAFIDE, SPOOF))


# ---- clips -----------------------------------------------------------------------------------------------------------


def test_every_clip_of_a_recording_is_written_with_its_row(task, tmp_path):
    outcome = builder._make(task, tmp_path / "corpus", 5)
    assert outcome.made == 2 and outcome.skipped == {}
    wave = reference(soundfile.read(task.recording.path, dtype="float32")[0])
    rows = []
    for clip, label in ((BONAFIDE, "bonafide"), (SPOOF, "spoof")):
        path = tmp_path / "corpus" / "flac" / "dev" / f"{clip.utt_id}.flac"
        values = (clip.utt_id, str(path), label, clip.voice, clip.attack, codec_of(clip, 5), "dev", "demo")
        rows.append(dict(zip(COLUMNS, values, strict=True)) | {"recording": BONAFIDE.utt_id.removesuffix("-bonafide")})
        written, rate = soundfile.read(path, dtype="float32")
        assert rate == RATE and np.array_equal(written, render(clip, wave, "cs", 5))
    assert outcome.rows == rows


def test_clips_that_are_there_are_kept_and_the_rest_is_made(task, tmp_path, monkeypatch):
    first = builder._make(task, tmp_path, 5)
    Path(first.rows[1]["path"]).unlink()
    kept = Path(first.rows[0]["path"]).stat()
    assert builder._make(task, tmp_path, 5) == _Outcome(first.rows, 1, {})
    monkeypatch.setattr(builder, "render", None)
    assert builder._make(task, tmp_path, 5) == _Outcome(first.rows, 0, {})
    assert Path(first.rows[0]["path"]).stat().st_ino == kept.st_ino


def test_a_recording_that_cannot_be_read_is_listed_by_its_path(task, tmp_path):
    """By its name alone, one of two speakers' 'a.wav' would be lost from the list."""
    file = task.recording.path
    file.write_bytes(b"RIFF, or not")
    broken = builder._make(task, tmp_path, 5)
    assert broken.rows == [] and broken.made == 0 and list(broken.skipped) == [str(file)]
    assert broken.skipped[str(file)].startswith(f"AudioError: {file}: cannot be read as audio")
    file.unlink()
    file.with_suffix(".g722").symlink_to(file)
    gone = Recording(file.with_suffix(".g722"), "ann", "cs", "dev")
    ((name, reason),) = builder._make(Task(gone, task.clips), tmp_path, 5).skipped.items()
    assert name == str(gone.path) and reason.startswith("FileNotFoundError: ")
    assert not (tmp_path / "flac").exists()


def test_a_defect_is_no_broken_recording(task, tmp_path, monkeypatch):
    def fail(path: Path) -> None:
        raise KeyError(path)

    monkeypatch.setattr(builder, "load", fail)
    with pytest.raises(KeyError):
        builder._make(task, tmp_path, 5)


def test_a_recording_with_less_than_a_second_of_speech_is_skipped(task, tmp_path, monkeypatch):
    for samples, outcome in ((15_999, "1.00 s of speech, less than 1.0 s"), (8_000, "0.50 s of speech, less than 1.0 s")):
        monkeypatch.setattr(builder, "reference", lambda wave, samples=samples: talk(1)[:samples])
        assert builder._make(task, tmp_path, 5) == _Outcome([], 0, {BONAFIDE.utt_id: outcome})
    assert not (tmp_path / "flac").exists()
    monkeypatch.setattr(builder, "reference", lambda wave: talk(1)[:16_000])
    monkeypatch.setattr(builder, "render", lambda clip, wave, language, seed: np.float32(wave))
    assert builder._make(task, tmp_path, 5).made == 2


@pytest.mark.parametrize("clip", [BONAFIDE, SPOOF])
def test_a_clip_that_is_too_short_is_skipped_alone(task, tmp_path, monkeypatch, clip):
    lengths = {clip.utt_id: 12_000}
    monkeypatch.setattr(builder, "render", lambda clip, wave, *rest: np.float32(wave[: lengths.get(clip.utt_id, 16_000)]))
    outcome = builder._make(task, tmp_path, 5)
    assert outcome.skipped == {clip.utt_id: "0.75 s left after trimming"} and outcome.made == 1
    assert [row["utt_id"] for row in outcome.rows] == [one.utt_id for one in (BONAFIDE, SPOOF) if one != clip]
    assert [file.name for file in (tmp_path / "flac" / "dev").iterdir()] == [f"{outcome.rows[0]['utt_id']}.flac"]
    lengths[clip.utt_id] = 15_999
    assert builder._make(task, tmp_path, 5).skipped == {clip.utt_id: "1.00 s left after trimming"}


def test_the_reference_is_band_limited_trimmed_cut_and_levelled():
    hum = 0.3 * np.sin(2 * np.pi * 8 * np.arange(8 * RATE) / RATE)
    wave = np.float32(np.pad(talk(1, seconds=7), RATE // 2) + hum * np.hanning(8 * RATE))
    made = reference(wave)
    assert made.dtype == np.float64 and len(made) == 5 * RATE
    assert 20 * np.log10(np.sqrt(np.mean(made**2))) == pytest.approx(-23, abs=1e-6)
    loud = np.flatnonzero(np.abs(made) > 0.05 * np.abs(made).max())
    assert RATE // 50 < loud[0] < RATE // 5  # the half second of hum before the speech is gone but for 30 ms
    power = np.abs(np.fft.rfft(made[: 4 * RATE])) ** 2
    assert power[: 4 * 12].sum() < 1e-4 * power.sum()


def test_a_clip_s_codec_is_its_own_and_all_are_about_equally_frequent():
    drawn = [codec_of(Clip(f"x-{number}", "-", "x"), 1) for number in range(900)]
    again = [codec_of(Clip(f"x-{number}", "hibari", "y"), 1) for number in range(900)]
    assert drawn == again and all(type(name) is str for name in drawn)
    counts = pd.Series(drawn).value_counts()
    assert set(counts.index) == set(channel.CODEC_NAMES) and counts.between(60, 140).all()
    assert drawn != [codec_of(Clip(f"x-{number}", "-", "x"), 2) for number in range(900)]
    pinned = ["a-law", "none", "g722", "vorbis", "a-law"]
    assert drawn[:5] == pinned, "another draw: other clips of the same seed"


def test_a_bona_fide_clip_is_the_reference_through_the_channel():
    wave = talk(2)
    top = channel.top_of(wave)
    sent = channel.transmit(wave, codec_of(BONAFIDE, 3), generator(3, "channel", BONAFIDE.utt_id), top)
    assert np.array_equal(render(BONAFIDE, wave, "cs", 3), sent)
    assert not np.array_equal(render(BONAFIDE, wave, "cs", 4)[:1_000], sent[:1_000])


def test_a_spoof_is_the_attack_on_the_reference_through_the_same_channel(task, monkeypatch):
    wave, met = talk(2), []

    def attack(source: Source, rng: np.random.Generator) -> np.ndarray:
        met.append(source)
        return source.wave + 0.1 * rng.standard_normal(len(source.wave))

    monkeypatch.setitem(ATTACKS, "half", attack)
    made = render(SPOOF, wave, "cs", 3)
    assert np.array_equal(met[0].wave, wave) and (met[0].language, met[0].voice) == ("cs", "espeak-cs+m1")
    noisy = wave + 0.1 * generator(3, "attack", SPOOF.utt_id).standard_normal(len(wave))
    top = channel.top_of(wave)  # of the recording, also for text-to-speech that reaches higher
    sent = channel.transmit(noisy, codec_of(SPOOF, 3), generator(3, "channel", SPOOF.utt_id), top)
    assert np.array_equal(made, sent)


# ---- the table and the notes -----------------------------------------------------------------------------------------


def row(name: str, root: Path, **changed: str) -> dict[str, str]:
    """The row of a clip that is there."""
    path = root / "flac" / "train" / f"{name}.flac"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    values = (name, str(path), "bonafide", "ann", "-", "none", "train", "demo")
    return dict(zip(COLUMNS, values, strict=True)) | changed


def test_the_end_of_a_build_is_its_table_and_its_notes(tmp_path):
    data = DataConfig(root=tmp_path, bonafide="folder", clips_per_speaker=3, seed=9)
    spoof = {"label": "spoof", "attack": "psola"}
    outcomes = [
        _Outcome([row("b", tmp_path), row("c", tmp_path, **spoof)], 1, {"x.wav": "zu kurz – пусто"}),
        _Outcome([], 0, {"y": "broken"}),
        _Outcome([row("a", tmp_path, split="dev", speaker="eve"), row("d", tmp_path, **spoof)], 2, {}),
    ]
    skipped = {"x.wav": "zu kurz – пусто", "y": "broken"}
    report = builder._finish(tmp_path, {"key": "0123"}, data, outcomes)
    assert report == BuildReport(tmp_path, tmp_path / "trials.parquet", 4, 3, skipped)
    assert list(read_trials(report.trials)["utt_id"]) == ["b", "c", "a", "d"]
    text = (tmp_path / "build.json").read_text(encoding="utf-8")
    assert "пусто" in text and text.endswith("}\n") and text.startswith('{\n "recipe"')
    notes = json.loads(text)
    assert list(notes["counts"]) == sorted(notes["counts"])
    assert notes == {
        "recipe": {"key": "0123"},
        "seed": 9,
        "settings": {
            "corpus": "demo",
            "cache": None,
            "evaluate_on": None,
            "bonafide": "folder",
            "full": False,
            "clips_per_speaker": 3,
            "seed": 9,
        },
        "clips": 4,
        "counts": {"dev bonafide -": 1, "train bonafide -": 1, "train spoof psola": 2},
        "skipped": skipped,
    }


def test_no_clip_at_all_is_an_error_with_the_first_reasons(tmp_path):
    outcomes = [_Outcome([], 0, {f"{number}.wav": f"reason {number}"}) for number in range(5)]
    with pytest.raises(SourceError) as error:
        builder._finish(tmp_path, {}, DataConfig(root=tmp_path), outcomes)
    assert "5 recordings" in str(error.value) and str(error.value).endswith(": ['reason 0', 'reason 1', 'reason 2']")
    assert list(tmp_path.iterdir()) == []


# ---- what is there already -------------------------------------------------------------------------------------------


def recipe(seed: str, **attacks: dict[str, str]) -> dict:
    """A recipe that differs from others in its seed and in the code of attacks."""
    return {"key": {"settings": {"seed": seed}, "data": {}, "code": {}, "versions": {}}, "attacks": attacks}


def test_a_recipe_knows_every_setting_that_changes_clips_and_no_other():
    data = DataConfig(root=Path("a"))
    first = builder._recipe(data)
    assert builder._recipe(data.model_copy(update={"root": Path("b"), "cache": Path("c")})) == first
    for change in ({"bonafide": "x"}, {"full": True}, {"clips_per_speaker": 7}, {"seed": 7}):
        other = builder._recipe(data.model_copy(update=change))
        assert other["attacks"] == first["attacks"] and changes(first["key"], other["key"]).startswith(next(iter(change)))


def test_a_recipe_holds_the_code_of_the_channel_of_the_attacks_one_by_one_and_versions():
    recipe = builder._recipe(DataConfig(root=Path("a")))
    files = recipe["key"]["code"]
    assert {"demo_corpus/builder.py", "demo_corpus/channel.py", "demo_corpus/plan.py", "audio/io.py"} <= files.keys()
    shared = {f"demo_corpus/attacks/{name}.py" for name in ("__init__", "source")}
    assert {name for name in files if name.startswith("demo_corpus/attacks/")} == shared
    assert recipe["attacks"].keys() == ATTACKS.keys()
    psola, neural = recipe["attacks"]["psola"], recipe["attacks"]["piper"]
    assert "demo_corpus/attacks/praat.py" in psola and "demo_corpus/attacks/praat.py" not in neural
    assert "demo_corpus/gpl_worker.py" in psola, "a program that is started counts as one that is imported"
    assert {"numpy", "scipy", "soxr", "praat-parselmouth"} <= recipe["key"]["versions"].keys()


@pytest.fixture
def finished(tmp_path) -> Path:
    """A build of two clips, finished by the recipe 'r'."""
    outcomes = [_Outcome([row("a", tmp_path), row("b", tmp_path, split="dev")], 2, {"x": "broken – пусто"})]
    builder._finish(tmp_path, recipe("r"), DataConfig(root=tmp_path), outcomes)
    row("more", tmp_path)
    return tmp_path


def test_a_finished_build_is_known_again(finished):
    report = BuildReport(finished, finished / "trials.parquet", 2, 0, {"x": "broken – пусто"})
    assert builder._finished(finished, recipe("r")) == report
    assert builder._finished(finished, recipe("s")) is None


@pytest.mark.parametrize("lost", ["trials.parquet", "build.json", "flac/train/a.flac", "flac/train/b.flac"])
def test_a_build_that_lost_a_file_is_not_finished(finished, lost):
    (finished / lost).unlink()
    assert builder._finished(finished, recipe("r")) is None


def start(root: Path, wanted: dict) -> list[str]:
    said: list[str] = []
    builder._start(root, wanted, said.append)
    assert json.loads((root / "recipe.json").read_text()) == wanted
    assert not (root / "trials.parquet").exists() and not (root / "build.json").exists()
    return said


def test_a_build_begins_by_keeping_the_clips_of_its_recipe_alone(finished, tmp_path):
    clips = finished / "flac" / "train"
    anew = f"the clips in {finished} are rebuilt"
    (said,) = start(finished, recipe("r"))  # whose they were is not known
    assert said.endswith(anew) and not clips.exists()
    clips.mkdir(parents=True)
    (clips / "a.flac").touch()
    (clips / ".tmp-012345678912.flac").touch()
    (finished / "trials.parquet").touch()
    (finished / "build.json").touch()
    assert start(finished, recipe("r")) == [] and [file.name for file in clips.iterdir()] == ["a.flac"]
    assert start(finished, recipe("s")) == [f"demo corpus: seed was r and is s: {anew}"] and not clips.exists()
    assert start(tmp_path / "new", recipe("s")) == []
    assert start(tmp_path / "new", recipe("t")) == []


def test_an_edited_attack_makes_its_own_clips_anew(tmp_path):
    start(tmp_path, recipe("r", psola={"attacks/psola.py": "1"}, piper={"attacks/piper.py": "1"}))
    names = ("train-ann-0000-bonafide", "train-ann-0000-psola", "train-ann-0000-piper", "train-ann-0001-psola")
    (tmp_path / "flac" / "train").mkdir(parents=True)
    for name in names:
        (tmp_path / "flac" / "train" / f"{name}.flac").touch()
    said = start(tmp_path, recipe("r", psola={"attacks/psola.py": "2"}, piper={"attacks/piper.py": "1"}))
    assert said == ["demo corpus: attacks/psola.py changed: clips of psola are rebuilt"]
    left = sorted(file.stem for file in (tmp_path / "flac" / "train").iterdir())
    assert left == ["train-ann-0000-bonafide", "train-ann-0000-piper"]


def test_a_damaged_recipe_is_nobody_s(tmp_path):
    start(tmp_path, recipe("r"))
    (tmp_path / "flac").mkdir()
    (tmp_path / "recipe.json").write_text('{"key": ')
    assert start(tmp_path, recipe("r")) == [f"demo corpus: the file is damaged: the clips in {tmp_path} are rebuilt"]


# ---- processes -------------------------------------------------------------------------------------------------------


class Pool(ThreadPoolExecutor):
    """Threads in the place of processes, which keep what they were asked for and in what environment."""

    asked: list[tuple]

    def __init__(self, workers: int, mp_context: object, initializer: object) -> None:
        self.asked.append((workers, mp_context, initializer, {name: os.environ.get(name) for name in builder.ONE_THREAD}))
        super().__init__(1)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.asked.append((wait, cancel_futures))
        super().shutdown(wait, cancel_futures=cancel_futures)


@pytest.fixture
def pool(monkeypatch) -> list[tuple]:
    monkeypatch.setattr(Pool, "asked", [], raising=False)
    monkeypatch.setattr(builder, "ProcessPoolExecutor", Pool)
    return Pool.asked


def test_recordings_are_made_by_so_many_processes_of_one_thread_and_come_back_in_order(monkeypatch, pool, tmp_path, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setattr(builder, "as_completed", lambda futures: reversed(list(futures)))
    monkeypatch.setattr(builder, "_make", lambda task, root, seed: (task, root, seed))
    assert builder._run(["a", "b", "c"], tmp_path, 3, 5) == [(task, tmp_path, 3) for task in "abc"]
    (workers, context, begin, threads), *ends = pool
    assert workers == 5 and context == multiprocessing.get_context("spawn") and begin is builder._begin
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    assert threads == dict.fromkeys(names, "1") == builder.ONE_THREAD
    assert ends == [(True, True)]
    assert os.environ["OMP_NUM_THREADS"] == "7" and "MKL_NUM_THREADS" not in os.environ
    assert "recordings: 100%" in capsys.readouterr().err.splitlines()[-1]
    monkeypatch.setenv("AASIST_HEADLESS", "1")
    builder._run(["a"], tmp_path, 3, 5)
    assert capsys.readouterr().out.splitlines()[-1].startswith("recordings: 1 of 1, ")


def test_a_defect_in_a_worker_stops_the_build(monkeypatch, pool, tmp_path):
    made = []

    def make(task: int, root: Path, seed: int) -> None:
        made.append(task)
        raise KeyError(task)

    monkeypatch.setattr(builder, "_make", make)
    with pytest.raises(KeyError):
        builder._run(list(range(50)), tmp_path, 3, 1)
    assert pool[-1] == (True, True)


def test_a_worker_leaves_ctrl_c_to_its_parent_and_ends_with_it(monkeypatch):
    said = []
    monkeypatch.setattr(builder.signal, "signal", lambda *words: said.append(words))
    monkeypatch.setattr(builder, "end_with_parent", lambda: said.append("parent"))
    builder._begin()
    assert said == [(signal.SIGINT, signal.SIG_IGN), "parent"]


def test_the_bar_of_a_headless_run_is_plain_lines(monkeypatch):
    monkeypatch.delenv("AASIST_HEADLESS", raising=False)
    assert builder._bar_style() == {}
    monkeypatch.setenv("AASIST_HEADLESS", "0")
    assert builder._bar_style() == {}
    monkeypatch.setenv("AASIST_HEADLESS", "1")
    style = builder._bar_style()
    file = style.pop("file")
    assert isinstance(file, builder._PlainLines)
    layout = "{desc}: {n_fmt} of {total_fmt}, {elapsed} gone, {remaining} to go"
    assert style == {"mininterval": 10, "bar_format": layout}


def test_plain_lines_are_written_whole_without_carriage_returns_or_empty_ones(monkeypatch):
    class Output(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1

    monkeypatch.setattr(sys, "stdout", Output())
    lines = builder._PlainLines()
    assert [lines.write(text) for text in ("\rrecordings: 1 of 3 ", "\n", "\r \r", "x\n")] == [19, 0, 0, 2]
    lines.flush()
    assert sys.stdout.getvalue() == "recordings: 1 of 3\nx\n" and sys.stdout.flushed == 1


# ---- the whole -------------------------------------------------------------------------------------------------------


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """A project in the temporary folder whose recordings are names; what each step of a build was asked."""
    asked: dict[str, tuple] = {}

    def collect(*words):
        asked["collect"] = words
        return ["recording"]

    def draw(*words):
        asked["draw"] = words
        return [Task(None, (BONAFIDE, SPOOF)), Task(None, (BONAFIDE,))]

    def run(tasks, root, seed, workers):
        asked["run"] = (len(tasks), root, seed, workers)
        return [_Outcome([row("a", root)], 1, {})]

    for name, function in (("collect", collect), ("draw", draw), ("_run", run), ("project_root", lambda: tmp_path)):
        monkeypatch.setattr(builder, name, function)
    return asked


def test_a_build_goes_from_recordings_to_a_table(fake, tmp_path, monkeypatch):
    data, said = DataConfig(root=Path("data/own"), bonafide="people", clips_per_speaker=6, seed=3), []
    report = build(data, workers=3, say=said.append)
    root = tmp_path / "data" / "own"
    assert report == BuildReport(root, root / "trials.parquet", 1, 1, {})
    (*words, say) = fake["collect"]
    assert words == ["people", False, tmp_path / "data" / "downloads", 3] and say == said.append
    assert fake["draw"] == (["recording"], 6, 3) and fake["run"] == (2, root, 3, 3)
    assert said == ["demo corpus: 3 clips from 2 recordings, 3 processes"]
    for written in (json.loads((root / "recipe.json").read_text()), json.loads((root / "build.json").read_text())["recipe"]):
        assert written == builder._recipe(data)
    fake.clear()
    monkeypatch.setattr(builder, "in_turn", None)  # what is finished may lie where nothing can be written
    assert build(data, say=pytest.fail) == BuildReport(root, root / "trials.parquet", 1, 0, {}) and not fake


def test_a_build_with_other_settings_says_that_clips_are_replaced(fake, tmp_path):
    said: list[str] = []
    for seed in (1, 2):
        build(DataConfig(root=tmp_path / "own", seed=seed), say=said.append)
    assert said[1] == f"demo corpus: seed was 1 and is 2: the clips in {tmp_path / 'own'} are rebuilt"
    assert len(said) == 3


def test_a_build_has_a_process_a_core_or_one(fake, tmp_path, monkeypatch):
    for cores, workers in ((6, 6), (None, 1)):
        monkeypatch.setattr(builder.os, "cpu_count", lambda cores=cores: cores)
        build(DataConfig(root=tmp_path / f"{cores}", full=True), say=quiet)
        assert fake["run"] == (2, tmp_path / f"{cores}", 2025, workers) and fake["collect"][:2] == ("debian", True)


def test_who_waited_for_another_process_takes_what_that_has_built(fake, tmp_path, monkeypatch):
    data = DataConfig(root=tmp_path / "own")
    waited = []

    @contextmanager
    def in_turn(lock: Path, notice: str):
        waited.append((lock, notice))
        monkeypatch.undo()
        builder._finish(data.root, builder._recipe(data), data, [_Outcome([row("a", data.root)], 1, {})])
        monkeypatch.setattr(builder, "_build", None)
        yield

    monkeypatch.setattr(builder, "in_turn", in_turn)
    assert build(data, say=pytest.fail).made == 0
    notice = f"demo corpus: another process is building {data.root}; waiting for it"
    assert waited == [(data.root / ".build.lock", notice)]


def test_other_weights_of_a_vocoder_rebuild_its_clips_alone(tmp_path, monkeypatch):
    data = DataConfig(root=tmp_path)
    before = builder._recipe(data)
    (tmp_path / "istft.safetensors").write_bytes(b"other")
    monkeypatch.setitem(builder.WEIGHTS, "neural-istft", tmp_path / "istft.safetensors")
    after = builder._recipe(data)
    assert before["key"] == after["key"]
    assert [name for name in ATTACKS if before["attacks"][name] != after["attacks"][name]] == ["neural-istft"]
