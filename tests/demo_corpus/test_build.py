import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import soundfile

from aasist_lib.config import DataConfig
from aasist_lib.corpora import load_trials, read_trials
from demo_corpus import KNOWN_ATTACKS, SourceError, build, builder
from demo_corpus.plan import draw
from demo_corpus.sources import EXTRA_SPEAKERS, SPEAKERS, Recording, _belongs, collect, load
from demo_corpus.texts import TEXTS


def hashes(root: Path) -> dict[str, str]:
    return {
        str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


def quiet(_: str) -> None:
    """A `say` that says nothing."""


@pytest.fixture
def config(recordings, tmp_path):
    folder = recordings(speakers=3, clips=3)
    return lambda name, **more: DataConfig(root=tmp_path / name, bonafide=str(folder), clips_per_speaker=3, **more)


def test_a_build_is_the_same_with_one_worker_and_two_and_goes_on_where_it_stopped(config, monkeypatch):
    broken = Path(config("x").bonafide) / "Speaker 1" / "9.wav"
    broken.write_bytes(b"RIFF, or not")
    one = config("one")
    report = build(one, workers=1, say=quiet)
    assert report.made == report.clips == len(load_trials(one)) > 15
    assert not any(file.name.startswith(".tmp-") for file in one.root.rglob("*"))

    shutil.copytree(one.root, config("two").root)
    before = hashes(one.root)
    for clip in sorted((config("two").root / "flac").rglob("*.flac"))[::2]:
        clip.unlink()
    (config("two").root / "flac" / "train" / ".tmp-0123456789ab.flac").touch()
    resumed = build(config("two"), workers=2, say=quiet)
    assert 0 < resumed.made < resumed.clips == report.clips
    assert hashes(config("two").root) == before

    monkeypatch.setattr(builder, "_run", None)
    assert build(one, say=quiet).made == 0


def test_another_seed_replaces_the_clips(config, capsys, monkeypatch):
    monkeypatch.setenv("AASIST_HEADLESS", "1")
    data = config("seeds").model_copy(update={"clips_per_speaker": 1})
    first = build(data, workers=1, say=quiet)
    before = hashes(data.root / "flac")
    again = build(data.model_copy(update={"seed": 7}), workers=1)
    said = capsys.readouterr().out
    assert "seed was 2025 and is 7: the clips in" in said and "rebuilt" in said
    assert "recordings: 3 of 3, " in said.splitlines()[-1] and "\r" not in said
    after = hashes(data.root / "flac")
    assert again.made == again.clips == len(after)
    assert first.clips == len(before) and not set(before.values()) & set(after.values())


def test_an_interrupted_build_leaves_whole_clips_only(config):
    data = config("stopped")
    code = (
        "import sys; from aasist_lib.config import DataConfig; from demo_corpus import build; "
        "build(DataConfig.model_validate_json(sys.argv[1]), workers=1)"
    )
    # Where these tests run as a shell's background job, SIGINT is ignored unless this is said.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); " + code
    process = subprocess.Popen([sys.executable, "-c", code, data.model_dump_json()], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(data.root.rglob("*.flac")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1].decode()
    assert process.returncode != 0 and "KeyboardInterrupt" in said
    assert not (data.root / "trials.parquet").exists()
    clips = list(data.root.rglob("*.flac"))
    assert clips and all(soundfile.info(clip).duration > 0.9 for clip in clips)
    assert not list(data.root.rglob(".tmp-*"))


def test_a_broken_recording_is_listed_and_skipped(config):
    folder = Path(config("x").bonafide)
    for name in ("0.wav", "1.flac", "2.ogg"):
        (folder / "Speaker 1" / name).write_bytes(b"not audio")
    shutil.copy(folder / "Speaker 0" / "0.wav", folder / "Speaker 1" / "good.wav")
    data = config("broken")
    data = data.model_copy(update={"clips_per_speaker": 8})
    report = build(data, workers=1, say=quiet)
    listed = json.loads((data.root / "build.json").read_text())["skipped"]
    assert listed == report.skipped and len(listed) == 3
    assert all("cannot be read as audio" in reason for reason in listed.values())
    assert "speaker-1" in set(read_trials(report.trials)["speaker"])


def test_nothing_usable_is_an_error(config):
    for file in Path(config("x").bonafide).rglob("*.*"):
        file.write_bytes(b"not audio")
    with pytest.raises(SourceError, match="none of .*recordings"):
        build(config("none"), workers=1, say=quiet)


def test_folders_that_cannot_be_used_say_what_is_needed(recordings, tmp_path):
    with pytest.raises(SourceError, match="/nowhere"):
        collect(str(tmp_path / "nowhere"), False, tmp_path, 1)
    with pytest.raises(SourceError, match="2 sub-folders .*three"):
        collect(str(recordings(speakers=2)), False, tmp_path, 1)
    with pytest.raises(SourceError, match=r"data\.full"):
        collect(str(tmp_path), True, tmp_path, 1)


def test_every_split_gets_speakers_of_a_folder(recordings, tmp_path):
    found = collect(str(recordings(speakers=6, clips=1)), False, tmp_path, 1)
    splits = {recording.speaker: recording.split for recording in found}
    assert len(splits) == 6 and sorted(splits.values()).count("train") == 4 and set(splits.values()) >= {"dev", "eval"}


def table_of(tasks) -> pd.DataFrame:
    rows = [(t.recording.split, t.recording.speaker, c.voice, c.attack, c.utt_id) for t in tasks for c in t.clips]
    return pd.DataFrame(rows, columns=["split", "person", "speaker", "attack", "utt_id"])


@pytest.fixture
def packaged(tmp_path) -> list[Recording]:
    """Nine speakers with 40 recordings each, long enough by their size alone (20 000 bytes of G.722 are 2.5 s)."""
    found = []
    for speaker in SPEAKERS:
        for number in range(40):
            path = tmp_path / speaker.name / f"{number}.g722"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(bytes(20_000))
            found.append(Recording(path, speaker.name, speaker.language, speaker.split))
    return found


def test_splits_share_no_speaker_and_no_voice_and_hold_every_source(packaged):
    plan = table_of(draw(packaged, 40, seed=1))
    for column in ("speaker", "person"):
        assert (plan.groupby(column)["split"].nunique() == 1).all()
    for split, part in plan.groupby("split"):
        extra = {"drascula"} if split == "train" else set()
        assert {name.split("-")[0] for name in part["person"]} == {"asterisk", "fillets"} | extra, split
    assert plan["utt_id"].is_unique


def test_extra_speakers_are_in_train_only_and_every_speaker_has_sentences():
    assert {speaker.split for speaker in EXTRA_SPEAKERS} == {"train"} and len(EXTRA_SPEAKERS) == 9
    assert {speaker.language for speaker in SPEAKERS + EXTRA_SPEAKERS} <= set(TEXTS)
    names = [speaker.name for speaker in SPEAKERS + EXTRA_SPEAKERS]
    assert len(names) == len(set(names))


def test_attacks_are_dealt_evenly_and_the_unseen_only_to_eval(packaged):
    plan = table_of(draw(packaged, 40, seed=1))
    counts = plan[plan["attack"] != "-"].groupby(["split", "attack"]).size().unstack(0)
    for split in ("train", "dev"):
        assert set(counts[split].dropna().index) == set(KNOWN_ATTACKS)
    assert counts["eval"].notna().all()
    assert ((counts.max() - counts.min()) <= 13).all()  # one for each speaker
    assert not plan[plan["attack"] != "-"].duplicated(["split", "person", "attack", "utt_id"]).any()


def test_a_smaller_build_takes_a_part_of_the_larger(packaged):
    small, large = (set(table_of(draw(packaged, clips, seed=1))["utt_id"]) for clips in (10, 40))
    assert small < large


def test_beeps_silence_and_unlabelled_lines_are_no_speech():
    asterisk = next(s for s in SPEAKERS if s.name == "asterisk-en")
    for name, speech in (("x/vm-intro", 1), ("x/beep", 0), ("x/ascending-2tone", 0), ("silence/5", 0), ("digits/5", 1)):
        assert _belongs(Path(f"{name}.g722"), asterisk) == bool(speech), name
    malay = next(s for s in SPEAKERS if s.name == "fillets-cs-m")
    for name, own in (("vit-m-hlava", 1), ("vit-v-proc", 0), ("vit-hs-klid1", 0), ("m-v-both", 0)):
        assert _belongs(Path(f"{name}.ogg"), malay) == bool(own), name


def test_lines_with_and_without_a_header_are_read(tmp_path):
    samples = bytes([128, 192] * 11_025)
    (tmp_path / "a.ALS").write_bytes(samples)
    (tmp_path / "b.ALS").write_bytes(b"\x00\x00\x00\x00WAVEfmt ".ljust(40, b"\x00") + samples)
    plain, headed = load(tmp_path / "a.ALS"), load(tmp_path / "b.ALS")
    assert len(plain) == len(headed) == 32_000 and abs(plain.mean() - 0.25) < 0.01
