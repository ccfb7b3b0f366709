"""`audio.read_crop` gives what reading the whole file and cropping gives, and reads no more than the crop where it can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from aasist_lib import audio

EXACT = {
    "FLAC": ("PCM_S8", "PCM_16", "PCM_24"), "WAV": ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"),
    "WAVEX": ("PCM_16",), "AIFF": ("PCM_S8", "PCM_16", "FLOAT"), "AU": ("PCM_16", "ULAW"), "CAF": ("PCM_16", "FLOAT"),
    "W64": ("PCM_16",), "RF64": ("PCM_16",), "NIST": ("PCM_16",),
}  # fmt: skip
BY_FFMPEG = {"MP3": ("MPEG_LAYER_III",)}
WHOLE = BY_FFMPEG | {"OGG": ("VORBIS", "OPUS"), "WAV": ("IMA_ADPCM", "GSM610")}
KINDS = [(form, sub) for kinds in (EXACT, WHOLE) for form, subtypes in kinds.items() for sub in subtypes]
LENGTHS = (1, 159, 4095, 4096, 4097, 20_011)  # soundfile's FLAC has blocks of 4096
RATES = (16_000, 24_000)


def noise(length: int, channels: int = 1) -> np.ndarray:
    """`(length, channels)`, each sample another one: a crop that is off by one sample is found out."""
    return 0.2 * np.random.default_rng([length, channels]).standard_normal((length, channels)).clip(-4, 4)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, int, int, int], Path]:
    """A file of a format, subtype, length, number of channels and rate, written once."""
    folder = tmp_path_factory.mktemp("crops")

    def make(form: str, subtype: str, length: int, channels: int, rate: int) -> Path:
        path = folder / f"{form}-{subtype}-{length}-{channels}-{rate}.bin"
        if not path.exists():
            soundfile.write(path, noise(length, channels), rate, format=form, subtype=subtype)
        return path

    return make


def flac_by_ffmpeg(path: Path, wave: np.ndarray) -> None:
    """16-bit mono FLAC at 16 kHz as FFmpeg writes it, with blocks of another size than libsndfile's."""
    with av.open(str(path), "w", format="flac") as file:
        stream = file.add_stream("flac", rate=16_000, layout="mono")
        for start in range(0, len(wave), 1000):
            samples = np.round(wave[None, start : start + 1000] * 32_767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples, "s16", "mono")
            frame.sample_rate, frame.pts = 16_000, start
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def cropped_whole(path: Path, samples: int, start: int) -> np.ndarray:
    return audio.fit(audio.read(path), samples, start)


@given(
    st.sampled_from(KINDS), st.sampled_from(LENGTHS), st.integers(1, 2), st.sampled_from(RATES),
    st.one_of(st.integers(1, 30_000), st.sampled_from(LENGTHS)), st.integers(0, 25_000),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_a_crop_is_that_of_the_whole_file_to_the_last_bit(made, kind, length, channels, rate, samples, start):
    path = made(*kind, length, 1 if kind[1] == "GSM610" else channels, rate)
    found = audio.read_crop(path, samples, lambda length: start)
    assert found.dtype == np.float32 and found.shape == (samples,)
    assert np.array_equal(found, cropped_whole(path, samples, start))


@pytest.mark.parametrize("start", [0, 1, 4607, 4608, 4609, 30_000, 45_000])
def test_a_flac_by_ffmpeg_and_one_that_gives_no_length(tmp_path, start):
    flac_by_ffmpeg(tmp_path / "a.flac", noise(50_000)[:, 0])
    expected = cropped_whole(tmp_path / "a.flac", 5000, start)
    assert np.array_equal(audio.read_crop(tmp_path / "a.flac", 5000, lambda length: start), expected)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)  # the number of samples in STREAMINFO: unknown, as a stream's is
    (tmp_path / "stream.flac").write_bytes(content)
    assert soundfile.info(tmp_path / "stream.flac").frames == np.iinfo(np.int64).max
    lengths = []
    assert np.array_equal(
        audio.read_crop(tmp_path / "stream.flac", 5000, lambda length: lengths.append(length) or start), expected
    )
    assert lengths == [50_000]


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
@pytest.mark.parametrize("rate", RATES)
def test_no_more_is_read_than_is_needed(made, monkeypatch, kind, rate):
    path = made(*kind, 20_011, 1, rate)
    read, taken, lengths = soundfile.SoundFile.read, [], []

    def counting(*args: object, **kwargs: object) -> np.ndarray:
        wave = read(*args, **kwargs)
        taken.append(len(wave))
        return wave

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    audio.read_crop(path, 3000, lambda length: lengths.append(length) or 9000)
    if kind[0] in BY_FFMPEG:
        assert taken == []
    else:
        exact = rate == 16_000 and kind[1] in EXACT.get(kind[0], ())
        assert taken == [3000] if exact else sum(taken) >= 20_011
    assert lengths == [len(audio.read(path))], "start is called once, with the length of the whole at 16 kHz"


def test_a_crop_starts_at_the_beginning_unless_told_otherwise(made):
    path = made("FLAC", "PCM_16", 20_011, 1, 16_000)
    assert np.array_equal(audio.read_crop(path, 500), audio.read(path)[:500])


def test_what_is_no_audio_is_named_as_by_read(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    (tmp_path / "text.flac").write_text("text")
    (tmp_path / "nothing.flac").touch()
    (tmp_path / "a.raw").write_bytes(bytes(4000))
    for path in (tmp_path, *(tmp_path / name for name in ("absent.flac", "empty.wav", "text.flac", "nothing.flac", "a.raw"))):
        with pytest.raises(audio.AudioError) as by_read:
            audio.read(path)
        with pytest.raises(audio.AudioError) as by_crop:
            audio.read_crop(path, 10)
        assert str(by_crop.value) == str(by_read.value) and str(path) in str(by_crop.value)


def test_nan_is_an_error_where_it_is_in_the_crop(tmp_path):
    wave = noise(1000)[:, 0]
    wave[500] = np.nan
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype="FLOAT")
    with pytest.raises(audio.AudioError, match="a.wav: .*NaN"):
        audio.read_crop(tmp_path / "a.wav", 100, lambda length: 450)
    assert len(audio.read_crop(tmp_path / "a.wav", 100)) == 100


def test_a_damaged_flac_is_an_error_where_the_crop_needs_the_damaged_part(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(100_000), 16_000)
    whole = audio.read(path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    path.write_bytes(content)
    for start in (40_000, 48_000, 50_000):
        with pytest.raises(audio.AudioError, match="a.flac: damaged .*[23].. s: "):
            audio.read_crop(path, 10_000, lambda length, start=start: start)
    for start in (0, 30_000, 60_000, 90_000):
        crop = audio.read_crop(path, 10_000, lambda length, start=start: start)
        assert np.array_equal(crop, whole[start : start + 10_000])


def test_a_flac_that_is_cut_off_is_an_error_where_the_crop_needs_the_end(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(100_000), 16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    for start in (50_000, 55_000, 70_000, 90_000):
        with pytest.raises(audio.AudioError, match="a.flac: (cut off|damaged)"):
            audio.read_crop(path, 10_000, lambda length, start=start: start)
    with pytest.raises(audio.AudioError, match="a.flac: (cut off|damaged)"):
        audio.read_crop(path, 200_000)
    assert len(audio.read_crop(path, 10_000)) == 10_000


@pytest.mark.parametrize(("form", "name"), [("WAV", "a.wav"), ("AIFF", "a.aiff"), ("AU", "a.au"), ("W64", "a.w64")])
def test_where_a_header_gives_a_cut_off_file_away_every_crop_is_an_error(tmp_path, form, name):
    path = tmp_path / name
    soundfile.write(path, noise(100_000), 16_000, format=form, subtype="PCM_16")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(audio.AudioError, match="cut off"):
        audio.read_crop(path, 1000)
