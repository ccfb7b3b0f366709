"""The steps of a partial-spoof set one by one; whole sets are in test_demo_partial.py."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from aasist_lib.config import DataConfig
from aasist_lib.corpora.table import COLUMNS, TrialTableError
from aasist_lib.runtime.kept import changes
from aasist_lib.runtime.processes import end_with_parent
from demo_corpus import SourceError, channel, partial
from demo_corpus.attacks import ATTACKS, Source
from demo_corpus.builder import ONE_THREAD
from demo_corpus.partial import KINDS, aligned_attacks, build_partial, compose, delay, draw_segment, splice
from demo_corpus.plan import Clip, Task
from demo_corpus.seeds import generator
from demo_corpus.sources import Recording
from tests.demo_corpus.conftest import RATE, talk

SAMPLES = 32_000


def quiet(_: str) -> None:
    """A `say` that says nothing."""


def burst(source: Source, rng: np.random.Generator) -> np.ndarray:
    """An attack: a tone."""
    return 0.1 * np.sin(2 * np.pi * 5000 * np.arange(len(source.wave)) / RATE)


def named(monkeypatch) -> list[tuple]:
    """The names of the random streams drawn from, in order: with other names come other clips."""
    asked: list[tuple] = []

    def spy(*key: object) -> np.random.Generator:
        asked.append(key)
        return generator(*key)

    monkeypatch.setattr(partial, "generator", spy)
    return asked


def job(name: str = "eval-ann-0003", attack: str = "burst") -> partial._Job:
    return partial._Job(name, Path("people/ann/a.wav"), "ann", "cs", "eval", attack)


@pytest.fixture
def loaded(monkeypatch):
    """What `_make` loads, as the reference it is; the attack 'burst' notes what it gets."""
    met: list[tuple[Source, float]] = []

    def attack(source: Source, rng: np.random.Generator) -> np.ndarray:
        met.append((source, rng.random()))
        return burst(source, rng)

    monkeypatch.setitem(ATTACKS, "burst", attack)
    monkeypatch.setattr(partial, "reference", lambda wave: wave)

    def put(wave: np.ndarray) -> list[tuple[Source, float]]:
        monkeypatch.setattr(partial, "load", lambda path: wave if path == job().path else None)
        met.clear()
        return met

    return put


def test_the_clips_of_a_recording_have_their_streams_their_rows_and_one_channel(tmp_path, monkeypatch, loaded):
    wave, asked, sent = talk(3, seconds=3.0), named(monkeypatch), []
    met, transmit = loaded(wave), channel.transmit

    def spy(*words):
        sent.append(words[1])
        return transmit(*words)

    monkeypatch.setattr(channel, "transmit", spy)
    rows, reason = partial._make(job(), tmp_path / "eval", SAMPLES, 5)
    name = "eval-ann-0003"
    assert asked == [
        (5, "partial", name),
        (5, "partial attack", name),
        (5, "codec", name),
        *[(5, "channel", name)] * 3,
    ]
    ((source, first),) = met
    assert (source.language, source.voice) == ("cs", "ann") and first == generator(5, "partial attack", name).random()
    rng = generator(5, "partial", name)
    begin = rng.integers(len(wave) - SAMPLES + 1)
    assert np.array_equal(source.wave, wave[begin : begin + SAMPLES])
    codec = str(generator(5, "codec", name).choice(channel.CODEC_NAMES))
    clips = compose(source.wave, channel.band_limit(burst(source, rng)), rng)
    assert reason == "" and sent == [codec] * 3
    for kind, row, (whole, start, end) in zip(KINDS, rows, clips, strict=True):
        made = transmit(whole, codec, generator(5, "channel", name))
        late = delay(whole, made)
        path = tmp_path / "eval" / f"{name}-{kind.replace(' ', '-')}.flac"
        label, attack = ("bonafide", "-") if kind == "control" else ("spoof", "burst")
        values = (path.stem, str(path), label, "ann", attack, codec, "eval", "demo-partial")
        expected = dict(zip(COLUMNS, values, strict=True)) | {"kind": kind, "recording": name, "attacks": "known"}
        assert row == expected | {"start": (start + late) / RATE, "end": (end + late) / RATE}
        assert np.array_equal(soundfile.read(path, dtype="float32")[0], made[:SAMPLES])


def test_an_unseen_attack_is_marked_so(tmp_path, monkeypatch, loaded):
    monkeypatch.setitem(ATTACKS, "lpc-pulse", burst)
    loaded(talk(3, seconds=2.0))
    rows, _ = partial._make(job(attack="lpc-pulse"), tmp_path, SAMPLES, 5)
    assert [(row["attack"], row["attacks"]) for row in rows] == [(name, "unseen") for name in ("lpc-pulse", "lpc-pulse", "-")]


def test_a_part_of_a_long_recording_is_drawn_from_all_of_it(tmp_path, monkeypatch, loaded):
    """Of one that is two samples too long there are three parts."""
    wave = talk(3, seconds=2.0)
    met = loaded(wave)
    monkeypatch.setattr(partial, "KINDS", ())
    monkeypatch.setattr(partial, "compose", lambda *_: [])
    drawn = set()
    for number in range(60):
        partial._make(job(f"eval-ann-{number}"), tmp_path, len(wave) - 2, 5)
        part = met[-1][0].wave
        assert len(part) == len(wave) - 2
        drawn |= {begin for begin in range(3) if np.array_equal(part, wave[begin : begin + len(part)])}
    assert drawn == {0, 1, 2}
    for number in range(20):
        partial._make(job(f"eval-ann-{number}"), tmp_path, len(wave) + 100, 5)
        assert np.array_equal(met[-1][0].wave, wave)


def test_a_recording_that_gives_no_clip_says_why(tmp_path, monkeypatch, loaded):
    loaded(talk(1, seconds=1.5)[:-1])
    assert partial._make(job(), tmp_path, SAMPLES, 5) == ([], "a.wav: 1.50 s of speech, less than 1.5 s")
    loaded(talk(1, seconds=0.5))
    assert partial._make(job(), tmp_path, SAMPLES, 5) == ([], "a.wav: 0.50 s of speech, less than 1.5 s")
    loaded(talk(1, seconds=1.5))
    assert len(partial._make(job(), tmp_path / "made", SAMPLES, 5)[0]) == 3

    def fail(path: Path) -> None:
        raise FileNotFoundError(2, "gone", str(path))

    monkeypatch.setattr(partial, "load", fail)
    told = "a.wav: FileNotFoundError: [Errno 2] gone: 'people/ann/a.wav'"
    assert partial._make(job(), tmp_path, SAMPLES, 5) == ([], told)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def tasks(monkeypatch, *people: tuple[str, str, int], length: float = 2.0) -> list[Task]:
    """So many recordings of each person in a split, of `length` seconds."""
    monkeypatch.setattr(partial, "seconds", lambda path: length)
    return [
        Task(Recording(Path(f"{name}{number}.wav"), name, "cs", split), (Clip(f"{split}-{name}-{number}-bonafide", "-", name),))
        for name, split, count in people
        for number in range(count)
    ]


def test_speakers_take_turns_and_every_recording_once(monkeypatch):
    asked = named(monkeypatch)
    people = tasks(monkeypatch, ("ann", "eval", 5), ("bob", "eval", 2), ("eve", "dev", 3))
    jobs = partial._jobs(people, "eval", 100, 5)
    assert asked == [(5, "partial", "ann"), (5, "partial", "bob"), (5, "partial attacks", "eval")]
    assert [one.speaker for one in jobs] == ["ann", "bob", "ann", "bob", "ann", "ann", "ann"]
    order = [f"eval-ann-{number}" for number in generator(5, "partial", "ann").permutation(5)]
    assert [one.name for one in jobs if one.speaker == "ann"] == order
    assert all((one.language, one.split) == ("cs", "eval") for one in jobs)
    assert all(str(one.path) == one.name.removeprefix("eval-").replace("-", "") + ".wav" for one in jobs)
    assert partial._jobs(people, "eval", 3, 5) == jobs[:3]


def test_only_recordings_that_may_hold_enough_speech_are_taken(monkeypatch):
    for length, count in ((2.0, 4), (1.99, 0)):
        assert len(partial._jobs(tasks(monkeypatch, ("ann", "dev", 4), length=length), "dev", 100, 5)) == count


@pytest.mark.parametrize("split", ["dev", "eval"])
def test_attacks_are_dealt_in_rounds_of_all_of_them(monkeypatch, split):
    names = aligned_attacks(split)
    people = tasks(monkeypatch, ("ann", split, 3 * len(names)))
    dealt = [one.attack for one in partial._jobs(people, split, 100, 5)]
    rounds = [dealt[start : start + len(names)] for start in range(0, len(dealt), len(names))]
    assert len(rounds) == 3 and all(sorted(part) == sorted(names) for part in rounds) and len(set(map(tuple, rounds))) == 3
    rng = generator(5, "partial attacks", split)
    assert dealt == [names[index] for _ in range(3) for index in rng.permutation(len(names))]


def test_a_set_s_key_knows_every_setting_that_changes_its_clips_and_no_other():
    data = DataConfig(root=Path("a"))
    first = partial._key(data, "eval", 64_000)
    assert partial._key(DataConfig(root=Path("b"), cache=Path("c")), "eval", 64_000) == first
    for change in ({"bonafide": "x"}, {"full": True}, {"clips_per_speaker": 7}, {"seed": 7}):
        assert changes(first, partial._key(data.model_copy(update=change), "eval", 64_000)).startswith(next(iter(change)))
    assert "split was eval and is dev" in changes(first, partial._key(data, "dev", 64_000))
    assert "samples was 64000 and is 32000" in changes(first, partial._key(data, "eval", 32_000))
    assert {"demo_corpus/partial.py", "demo_corpus/builder.py", "demo_corpus/attacks/world.py"} <= first["code"].keys()


def clips_of(folder: Path, *recordings: str) -> list[dict]:
    """Rows of clips that are there, three of each recording."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in recordings:
        for kind in KINDS:
            path = folder / f"{name}-{kind.replace(' ', '-')}.flac"
            path.touch()
            label = "bonafide" if kind == "control" else "spoof"
            values = (
                path.stem,
                str(path),
                label,
                "ann",
                "-" if label == "bonafide" else "psola",
                "none",
                "eval",
                "demo-partial",
            )
            own = {"kind": kind, "start": 0.5, "end": 1.0, "recording": name, "attacks": "known"}
            rows.append(dict(zip(COLUMNS, values, strict=True)) | own)
    return rows


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """A project in the temporary folder, where `_run` makes empty clips; what each step was asked."""
    asked: dict[str, tuple] = {}

    def collect(*words):
        asked["collect"] = words
        return ["recording"]

    def draw(*words):
        asked["draw"] = words
        return ["task"]

    def jobs(found, split, clips, seed):
        asked["jobs"] = (found, split, clips, seed)
        return [job("a"), job("b"), job("c")][:clips]

    def run(make, jobs, workers):
        asked["run"] = (make.func, make.keywords, workers)
        rows = [(clips_of(make.keywords["folder"], one.name), "") for one in jobs]
        return [([], f"{jobs[0].name}: пусто"), *rows[1:]] if len(rows) == 3 else rows

    steps = {"collect": collect, "draw": draw, "_jobs": jobs, "_run": run, "project_root": lambda: tmp_path}
    for name, function in steps.items():
        monkeypatch.setattr(partial, name, function)
    return asked


def test_a_set_goes_from_recordings_to_a_table_and_its_notes(fake, tmp_path, monkeypatch):
    data, said = DataConfig(root=tmp_path / "own", bonafide="people", full=True, clips_per_speaker=6, seed=3), []
    table = build_partial(data, "eval", 3, 24_000, workers=2, say=said.append)
    folder = tmp_path / "own" / "partial"
    (*words, say) = fake["collect"]
    assert words == ["people", True, tmp_path / "data" / "downloads", 3] and say == said.append
    assert fake["draw"] == (["recording"], 6, 3) and fake["jobs"] == (["task"], "eval", 3, 3)
    assert fake["run"] == (partial._make, {"folder": folder / "eval", "samples": 24_000, "seed": 3}, 2)
    assert said == [
        "partial spoofs, eval: 3 recordings, three clips each, 2 processes",
        "partial spoofs, eval: left out a: пусто",
    ]
    expected = pd.DataFrame(clips_of(folder / "eval", "b", "c"))
    assert list(table.columns) == list(expected.columns) and table.astype(object).equals(expected.astype(object))
    text = (folder / "partial-eval.json").read_text(encoding="utf-8")
    assert "пусто" in text and text.startswith('{\n "key"') and text.endswith("}\n")
    assert json.loads(text) == {
        "key": partial._key(data, "eval", 24_000),
        "seed": 3,
        "samples": 24_000,
        "asked": 3,
        "recordings": ["a", "b", "c"],
        "skipped": ["a: пусто"],
    }
    assert list(pd.read_parquet(folder / "partial-eval.parquet").columns) == list(expected.columns)
    fake.clear()
    for clips, left in ((3, 6), (2, 3), (1, 0)):
        again = build_partial(data, "eval", clips, 24_000, say=pytest.fail)
        assert again.equals(table.head(left)) and not fake
    (folder / "partial-eval.json").unlink()
    assert len(build_partial(data, "eval", 2, 24_000, say=quiet)) == 6 and fake


def test_who_comes_second_waits_and_reads_what_the_first_has_made(fake, tmp_path, monkeypatch, capfd):
    data = DataConfig(root=tmp_path / "own")
    begun, made, run, until = threading.Event(), [], partial._run, time.monotonic() + 60

    def slow(*words):
        begun.set()
        while "another process is making" not in "".join(made):
            assert time.monotonic() < until, "nobody waits"
            made.append(capfd.readouterr().out)
            time.sleep(0.01)
        return run(*words)

    monkeypatch.setattr(partial, "_run", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(build_partial, data, "eval", 2, 24_000, say=quiet)
        assert begun.wait(60)
        fake.clear()
        second = pool.submit(build_partial, data, "eval", 2, 24_000, say=pytest.fail)
        assert second.result(60).equals(first.result(60)) and set(fake) == {"run"}, "the first alone ran"
    (tmp_path / "own" / "partial" / ".eval.lock").unlink()
    assert len(build_partial(data, "eval", 1, 24_000, say=pytest.fail)) == 3
    assert not (tmp_path / "own" / "partial" / ".eval.lock").exists(), "what is finished is read where nobody may write, too"


def test_a_set_for_another_split_or_input_is_another(fake, tmp_path):
    data = DataConfig(root=tmp_path / "own")
    build_partial(data, "eval", 2, 24_000, say=quiet)
    (tmp_path / "own" / "partial" / "eval" / "old.flac").touch()
    for split, samples in (("eval", 32_000), ("dev", 32_000)):
        fake.clear()
        build_partial(data, split, 2, samples, say=quiet)
        assert len(list((tmp_path / "own" / "partial" / split).iterdir())) == 6
        assert fake["run"][1] == {"folder": tmp_path / "own" / "partial" / split, "samples": samples, "seed": 2025}


def test_a_set_has_no_more_processes_than_recordings_or_cores(fake, tmp_path, monkeypatch):
    used = []
    for cores, asked, clips in ((8, None, 2), (1, None, 2), (None, None, 2), (1, 8, 3), (1, 2, 3), (2, None, 0)):
        if not clips:
            monkeypatch.setattr(partial, "_jobs", lambda *_: [])
        monkeypatch.setattr(partial.os, "cpu_count", lambda cores=cores: cores)
        try:
            build_partial(DataConfig(root=tmp_path / f"{cores}-{asked}-{clips}"), "eval", clips or 1, 24_000, asked, quiet)
        except SourceError as error:
            assert not clips and "eval: " in str(error) and " 0 recordings " in str(error)
        used.append(fake["run"][2])
    assert used == [2, 1, 1, 3, 2, 1]


def test_the_splits_there_are_and_the_smallest_set_are_told(tmp_path):
    with pytest.raises(ValueError, match="^split = 'test': .*train, dev, eval"):
        build_partial(DataConfig(root=tmp_path), "test", 1, SAMPLES)
    for clips, samples in ((0, 24_000), (1, 23_999)):
        with pytest.raises(ValueError, match=f"^clips = {clips}, samples = {samples}: .*1 .*24000"):
            build_partial(DataConfig(root=tmp_path), "dev", clips, samples)


def test_a_table_that_breaks_the_contract_is_named_and_not_written(tmp_path):
    rows = pd.DataFrame(clips_of(tmp_path / "eval", "a")).assign(label="fake")
    with pytest.raises(TrialTableError, match=str(tmp_path / "partial-eval.parquet")):
        partial._write(rows, tmp_path / "partial-eval.parquet", {})
    assert [path.name for path in tmp_path.iterdir()] == ["eval"]


def test_several_processes_have_one_thread_each_and_end_with_this_one(monkeypatch):
    asked = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, workers: int, context: object, initializer: object) -> None:
            asked.append((workers, context, initializer, {name: os.environ.get(name) for name in ONE_THREAD}))
            super().__init__(1)

    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setattr(partial, "ProcessPoolExecutor", Pool)
    assert partial._run(str, [3, 1, 2], 2) == ["3", "1", "2"]
    assert asked == [(2, multiprocessing.get_context("spawn"), end_with_parent, ONE_THREAD)]
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert partial._run(str, [3, 1], 1) == ["3", "1"] and len(asked) == 1


# ---- waves -----------------------------------------------------------------------------------------------------------


def test_segments_are_drawn_as_ever():
    """With another draw clips change. In the shorter clip a segment is at most half of it."""
    places = {
        3.0: [(10560, 29578), (9600, 24104), (14240, 29730), (21440, 34022), (27360, 34641), (32160, 44556)],
        1.5: [(5440, 17360), (4160, 14106), (4800, 15177), (9760, 18864), (11040, 17825), (10400, 19423)],
    }
    for length, drawn in places.items():
        wave = talk(1, seconds=length)
        assert [draw_segment(wave, generator(number, "segment")) for number in range(6)] == drawn
        assert all(0.4 * RATE <= end - start <= min(1.2, length / 2) * RATE for start, end in drawn)


def test_where_no_segment_is_speech_for_four_fifths_the_most_spoken_is_taken():
    wave = 1e-4 * np.random.default_rng(0).standard_normal(3 * RATE)
    wave[RATE : RATE + RATE // 10] = 0.1  # a tenth of a second
    for number in range(30):
        start, end = draw_segment(wave, generator(number, "segment"))
        assert start <= RATE and RATE + RATE // 10 <= end


def test_segments_may_begin_and_end_a_tenth_of_a_second_from_the_edges():
    wave = 0.1 * np.sin(np.arange(RATE) / 5)
    places = [draw_segment(wave, generator(number, "segment")) for number in range(400)]
    assert min(start for start, _ in places) == 0.1 * RATE
    assert 0.87 * RATE < max(end for _, end in places) <= 0.9 * RATE


def test_what_is_30_db_below_the_loudest_is_no_speech():
    """A tone at 29 dB below counts, at 31 dB below it does not."""
    tone = np.sin(np.arange(3 * RATE) / 5)
    for below, speech in ((29, True), (31, False)):
        wave = tone * 10 ** (-below / 20)
        wave[RATE : RATE + 480] = tone[RATE : RATE + 480]
        places = [draw_segment(wave, generator(number, "segment")) for number in range(40)]
        assert all(start <= RATE + 320 and RATE + 160 <= end for start, end in places) != speech


def test_joints_are_cross_fades_of_ten_milliseconds_whose_weights_sum_to_one():
    host = np.ones(4_000)
    weight = (1 - splice(host, -host, 1_000, 3_000)) / 2
    assert not weight[:920].any() and not weight[3_080:].any() and (weight[1_080:2_920] == 1).all()
    rise = weight[920:1_080]
    np.testing.assert_allclose(rise, np.sin((np.arange(160) + 0.5) / 160 * np.pi / 2) ** 2, atol=1e-12)
    np.testing.assert_allclose(weight[2_920:3_080], rise[::-1], atol=1e-12)
    np.testing.assert_allclose(rise + rise[::-1], 1, atol=1e-12)


def test_a_silent_inside_is_put_in_as_it_is():
    host = np.ones(4_000)
    made = splice(host, np.full(4_000, 1e-12), 1_000, 3_000)
    np.testing.assert_allclose(made[1_080:2_920], 1e-3, rtol=1e-9)
    assert splice(host, np.zeros(4_000), 1_000, 3_000)[2_000] == 0


def test_controls_are_moved_either_way_by_4_to_12_milliseconds():
    wave = np.zeros(2 * RATE)
    wave[::1_000] = 1.0
    wave += 1e-3 * talk(1, seconds=2.0)
    moves = []
    for number in range(60):
        _, _, (control, start, end) = compose(wave, wave, generator(number, "move"))
        inner = control[start + 80 : end - 80]
        fits = [inner @ np.roll(wave, move)[start + 80 : end - 80] for move in range(-400, 401)]
        moves.append(int(np.argmax(fits)) - 400)
    sizes = np.abs(moves)
    assert {np.sign(move) for move in moves} == {-1, 1} and 20 < sum(move > 0 for move in moves) < 40
    assert 64 <= sizes.min() < 80 and 176 < sizes.max() <= 192
