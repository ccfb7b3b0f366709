"""A file is read to its real end, or refused by name: containers, bit rates, headers, joints and changes on the way."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from aasist_lib import audio
from aasist_lib.datasets import check as preflight
from tests.made_audio import FIRST, Made, corpus, joined, plain, sound

CORPUS = corpus()


def written(made: Made, folder: Path) -> Path:
    path = folder / f"a.{made.ending}"
    path.write_bytes(made.content)
    return path


def test_there_are_enough_files() -> None:
    assert len(CORPUS) >= 60 and len({made.content for made in CORPUS.values()}) == len(CORPUS)


@pytest.mark.parametrize("name", CORPUS)
def test_a_file_is_read_to_its_end_or_refused(name: str, tmp_path: Path) -> None:
    made = CORPUS[name]
    path = written(made, tmp_path)
    if made.refused:
        for read in (audio.read, audio.mixdown):
            with pytest.raises(audio.AudioError, match=f"^{path}: .*(?:{made.refused})"):
                read(path)
        assert re.search(made.refused, preflight.unusable_reason(str(path)))
        return
    assert preflight.unusable_reason(str(path)) == ""
    wave = audio.read(path)
    assert len(wave) / audio.RATE == pytest.approx(made.seconds, abs=made.within)
    assert audio.duration(path) == pytest.approx(len(wave) / audio.RATE, abs=3e-4)
    last = round(0.4 * audio.RATE)
    np.testing.assert_array_equal(audio.read_crop(path, last, lambda length: length - last), wave[-last:])


# ---- channels that cancel --------------------------------------------------------------------------------------------


def stereo(folder: Path, left: np.ndarray, right: np.ndarray, name: str = "a.wav") -> Path:
    soundfile.write(folder / name, np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    return folder / name


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
@pytest.mark.parametrize("other", [-1.0, -0.98, -0.7])
def test_where_the_mean_cancels_the_louder_channel_is_heard(tmp_path: Path, other: float, name: str) -> None:
    """A microphone with its poles swapped, exactly or nearly."""
    wave = 0.1 * sum(np.sin(2 * np.pi * number * 150 * np.arange(32_000) / 16_000) / number for number in range(1, 9))
    soundfile.write(tmp_path / name, np.stack([other * wave, wave], axis=1), 16_000)
    mix = audio.mixdown(tmp_path / name)
    assert mix.channels == 2 and mix.channel in ((2,) if other > -0.9 else (1, 2))
    assert f"cancels: channel {mix.channel}, the loudest" in mix.warning
    heard = audio.read(tmp_path / name)
    assert abs(np.corrcoef(heard, wave)[0, 1]) > 0.9 and np.std(heard) > 0.8 * np.std(wave)


def test_a_part_that_cancels_is_enough(tmp_path: Path) -> None:
    wave = sound(4, 16_000)[:, 0]
    turned = np.where(np.arange(wave.size) < wave.size // 2, -0.99 * wave, 0.99 * wave)
    assert audio.mixdown(stereo(tmp_path, wave, turned)).channel == 1


@pytest.mark.parametrize("right", ["same", "another", "delayed", "silent"])
def test_what_does_not_cancel_is_the_mean(tmp_path: Path, right: str) -> None:
    wave = sound(3, 16_000)[:, 0]
    other = {"same": wave, "another": sound(3, 16_000, 2)[:, 1], "delayed": np.roll(wave, 40), "silent": 0 * wave}[right]
    path = stereo(tmp_path, wave, other)
    assert audio.mixdown(path) == audio.Mixdown(2)
    np.testing.assert_allclose(audio.read(path), (wave + other) / 2, atol=1e-6)


def test_six_channels_of_which_two_cancel(tmp_path: Path) -> None:
    wave = sound(2, 16_000)[:, 0]
    soundfile.write(tmp_path / "a.wav", np.stack([wave, -wave, *[0.001 * wave] * 4], axis=1), 16_000, subtype="FLOAT")
    assert audio.mixdown(tmp_path / "a.wav").channel in (1, 2)


def test_a_channel_asked_for_is_heard_alone(tmp_path: Path) -> None:
    left, right = sound(2, 16_000)[:, 0], sound(2, 16_000, 2)[:, 1]
    path = stereo(tmp_path, left, right)
    assert audio.channel_count(path) == 2
    for number, wave in ((1, left), (2, right)):
        np.testing.assert_array_equal(np.concatenate(list(audio.Stream(path, channel=number))), wave)


def test_silence_cancels_nothing_and_channels_may_come_on_the_way(tmp_path: Path) -> None:
    assert audio.mixdown(stereo(tmp_path, np.zeros(16_000), np.zeros(16_000))) == audio.Mixdown(2)
    path = written(joined(plain("FLAC"), plain("FLAC", channels=2)), tmp_path)
    assert audio.mixdown(path) == audio.Mixdown(2) and len(audio.read(path)) == 2 * FIRST * 16_000


# ---- folders ---------------------------------------------------------------------------------------------------------


def test_links_are_followed_loops_are_noticed_and_counts_say_what_was_left_out(tmp_path: Path) -> None:
    for place in ("calls", "elsewhere/deep", "calls/sub"):
        (tmp_path / place).mkdir(parents=True)
    for name in ("calls/a.wav", "calls/sub/b.flac", "elsewhere/c.ogg", "elsewhere/deep/d.MP3"):
        (tmp_path / name).touch()
    for name in ("._a.wav", ".DS_Store", "Thumbs.db", "notes.txt", "list.txt", "README", "sub/._b.flac"):
        (tmp_path / "calls" / name).touch()
    (tmp_path / "calls" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "calls")
    (tmp_path / "calls" / "single.wav").symlink_to(tmp_path / "elsewhere" / "c.ogg")
    found = audio.search(tmp_path / "calls")
    names = [str(path.relative_to(tmp_path / "calls")) for path in found.files]
    assert names == ["a.wav", "linked/c.ogg", "linked/deep/d.MP3", "single.wav", "sub/b.flac"]
    assert found.left_out == {
        "files that a system keeps for itself": 4,
        "'.txt' files": 2,
        "files without an ending": 1,
        "folders that a link leads to again": 1,
    }
    assert audio.left_out_text(found.left_out).startswith("2 '.txt' files, 4 files that a")


def test_a_folder_that_is_a_link_to_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "me").symlink_to(".")
    (tmp_path / "two").symlink_to("me")
    assert [path.name for path in audio.search(tmp_path).files] == ["a.wav"]


# ---- damage ----------------------------------------------------------------------------------------------------------

DAMAGES = ("a few bytes at the beginning", "a few bytes anywhere", "bytes that come in between", "the end is missing")
UNTOLD = (
    "untold",
    "size 0",
    "sizes 0",
    "too few",
    "counts one",
    "too small",
    "no Xing",
    "no Info",
    "first block",
    "without Xing",
    "with tags",
)
"""Of files with these words in their names nobody can know whether the end is there."""


def damaged(content: bytes, damage: str, rng: np.random.Generator) -> bytes:
    edited = bytearray(content)
    if damage == "the end is missing":
        return content[: int(len(content) * rng.uniform(0.05, 0.9))]
    if damage == "bytes that come in between":
        at = int(rng.integers(len(edited) // 10, len(edited)))
        edited[at:at] = rng.bytes(int(rng.integers(5_000, 9_000)))
        return bytes(edited)
    last = min(len(edited), 400) if damage == "a few bytes at the beginning" else len(edited)
    for _ in range(rng.integers(1, 12)):
        edited[rng.integers(last)] = rng.integers(256)
    return bytes(edited)


@pytest.mark.parametrize("name", CORPUS)
def test_a_damaged_file_is_read_or_refused_and_nothing_else_happens(name: str, tmp_path: Path) -> None:
    made, rng = CORPUS[name], np.random.default_rng(len(name))
    for damage in DAMAGES:
        path = written(made._replace(content=damaged(made.content, damage, rng)), tmp_path)
        try:
            seconds = len(audio.read(path)) / audio.RATE
        except audio.AudioError as error:
            assert str(error).startswith(f"{path}: ")
            continue
        told = not any(word in name for word in UNTOLD)
        if damage == "the end is missing" and told and made.ending != "aac":  # which has no header at all
            assert seconds > made.seconds - 0.35, "half of it in silence"


@pytest.mark.parametrize("name", ["WAV", "AIFF", "FLAC", "Vorbis, variable", "MP3, constant"])
def test_a_thousand_parts_are_a_thousand_parts(name: str, tmp_path: Path) -> None:
    one = plain(name, seconds=0.1)
    path = written(one._replace(content=one.content * 1000), tmp_path)
    assert len(audio.read(path)) / audio.RATE == pytest.approx(100, abs=0.2 if "MP3" not in name else 20)
