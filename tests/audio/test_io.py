import os
from fractions import Fraction
from itertools import islice

import av
import numpy as np
import pytest
import soundfile
import soxr
from scipy.signal import correlate

from aasist_lib import audio
from aasist_lib.audio import decoding

BY_SNDFILE = {  # name: format and subtype, and how alike the wave that is read back has to be
    "a.wav": ("WAV", "PCM_16", 0.9999), "a.flac": ("FLAC", "PCM_24", 0.9999), "a.aiff": ("AIFF", "PCM_16", 0.9999),
}  # fmt: skip
WRITTEN_BY_SNDFILE = {"a.mp3": ("MP3", None), "a.ogg": ("OGG", "VORBIS"), "a.opus": ("OGG", "OPUS")}
BY_FFMPEG = {  # name: container, codec and its rate
    "a.m4a": ("mp4", "aac", 16_000), "b.m4a": ("mp4", "alac", 44_100), "a.mov": ("mov", "pcm_s16le", 48_000),
    "a.webm": ("webm", "libopus", 48_000), "a.mka": ("matroska", "aac", 22_050), "a.wma": ("asf", "wmav2", 44_100),
}  # fmt: skip


def speechlike(seconds: float, rate: int = 16_000, channels: int = 1) -> np.ndarray:
    """Swelling tones, other ones in each channel, `(samples, channels)` float32."""
    time = np.arange(round(seconds * rate)) / rate
    tones = [np.sin(2 * np.pi * 200 * (c + 1) * time) + 0.5 * np.sin(2 * np.pi * 790 * time) for c in range(channels)]
    return (0.3 * np.stack(tones, axis=1) * np.sin(2 * np.pi * 1.3 * time)[:, None] ** 2).astype(np.float32)


def write_by_ffmpeg(path, container, codec, rate, wave):
    """A mono file of a 16 kHz wave; WMA takes no more than 2048 samples at a time."""
    sent = soxr.resample(wave, 16_000, rate)
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = 64_000
        for start in range(0, len(sent), 2048):
            frame = av.AudioFrame.from_ndarray(sent[None, start : start + 2048].copy(), "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def read_whole(path):
    """What `audio.read` was before it streamed."""
    wave, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    return wave.mean(axis=1) if rate == 16_000 else soxr.resample(wave.mean(axis=1), rate, 16_000)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_rate_and_number_of_channels_becomes_mono_at_16_khz(tmp_path, rate, channels):
    wave = speechlike(1.5, rate, channels)
    soundfile.write(tmp_path / "a.wav", wave, rate, subtype="FLOAT")
    expected = soxr.resample(wave.mean(axis=1), rate, 16_000)
    np.testing.assert_allclose(audio.read(tmp_path / "a.wav"), expected, atol=1e-6)


@pytest.mark.parametrize("name", BY_SNDFILE)
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (48_000, 2)])
def test_blocks_joined_are_the_file_read_at_once_to_the_last_bit(tmp_path, monkeypatch, name, rate, channels):
    form, subtype, likeness = BY_SNDFILE[name]
    wave = speechlike(3, rate, channels)
    soundfile.write(tmp_path / name, wave, rate, format=form, subtype=subtype)
    whole = read_whole(tmp_path / name)
    assert np.corrcoef(whole, soxr.resample(wave.mean(axis=1), rate, 16_000))[0, 1] > likeness
    for size in (decoding.BLOCK, 4096, 30_011):
        monkeypatch.setattr(decoding, "BLOCK", size)
        assert np.array_equal(np.concatenate(list(audio.blocks(tmp_path / name))), whole), size
        assert np.array_equal(audio.read(tmp_path / name), whole), size


@pytest.mark.parametrize("name", WRITTEN_BY_SNDFILE)
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (48_000, 2)])
def test_what_libsndfile_writes_and_ffmpeg_reads_is_the_same_sound_of_the_same_length(
    tmp_path, monkeypatch, name, rate, channels
):
    form, subtype = WRITTEN_BY_SNDFILE[name]
    soundfile.write(tmp_path / name, speechlike(3, rate, channels), rate, format=form, subtype=subtype)
    whole, found = read_whole(tmp_path / name), audio.read(tmp_path / name)
    assert abs(len(found) - 48_000) <= 1
    likeness = correlate(found, whole) / (np.linalg.norm(found) * np.linalg.norm(whole))
    assert likeness.max() > 0.999 and abs(np.argmax(likeness) - (len(whole) - 1)) <= 1
    monkeypatch.setattr(decoding, "BLOCK", 3000)
    assert np.allclose(np.concatenate(list(audio.blocks(tmp_path / name))), found, atol=1e-6)


@pytest.mark.parametrize("name", BY_FFMPEG)
def test_what_libsndfile_cannot_read_ffmpeg_does(tmp_path, monkeypatch, name):
    wave = speechlike(3)[:, 0]
    write_by_ffmpeg(tmp_path / name, *BY_FFMPEG[name], wave)
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.info(tmp_path / name)
    found = audio.read(tmp_path / name)
    assert found.dtype == np.float32 and abs(len(found) - len(wave)) < 2100, "more than an encoder's delay is missing"
    likeness = correlate(found, wave) / (np.linalg.norm(found) * np.linalg.norm(wave))
    late = np.argmax(likeness) - (len(wave) - 1)
    assert likeness.max() > 0.98 and abs(late) <= (800 if name == "a.wma" else 1), "WMA's delay is not in its header"
    monkeypatch.setattr(decoding, "BLOCK", 3000)
    assert np.array_equal(np.concatenate(list(audio.blocks(tmp_path / name))), found)


def test_a_file_is_read_as_it_is_asked_for(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.zeros(100_000), 16_000)
    monkeypatch.setattr(decoding, "BLOCK", 1000)
    read, taken = soundfile.SoundFile.read, []
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *args, **kwargs: taken.append(1) or read(*args, **kwargs))
    pieces = list(islice(audio.blocks(tmp_path / "a.wav"), 3))
    assert [len(piece) for piece in pieces] == [1000] * 3 and len(taken) == 3


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.mp3", "a.ogg", "a.opus", "a.m4a", "a.webm", "a.mka"])
def test_a_file_that_is_cut_off_is_an_error_and_not_half_a_file(tmp_path, name):
    if name not in BY_FFMPEG:
        form, subtype = WRITTEN_BY_SNDFILE.get(name) or BY_SNDFILE[name][:2]
        soundfile.write(tmp_path / name, speechlike(6)[:, 0], 16_000, format=form, subtype=subtype)
    else:
        write_by_ffmpeg(tmp_path / name, *BY_FFMPEG[name], speechlike(6)[:, 0])
    assert len(audio.read(tmp_path / name)) > 90_000
    content = (tmp_path / name).read_bytes()
    cut = tmp_path / f"cut-{name}"
    cut.write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(audio.AudioError, match=f"cut-{name}: .*(cut off|damaged|read)") as error:
        audio.read(cut)
    assert str(cut) in str(error.value)


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.m4a"])
def test_a_file_that_is_damaged_in_the_middle_is_an_error(tmp_path, name):
    if name not in BY_FFMPEG:
        soundfile.write(tmp_path / name, speechlike(6)[:, 0], 16_000)
    else:
        write_by_ffmpeg(tmp_path / name, *BY_FFMPEG[name], speechlike(6)[:, 0])
    content = bytearray((tmp_path / name).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(audio.AudioError, match=f"{name}: .*(cut off|damaged)"):
        audio.read(tmp_path / name)


def test_a_wav_that_was_piped_and_an_mp3_that_gives_no_length_are_whole(tmp_path):
    wave = speechlike(2)[:, 0]
    soundfile.write(tmp_path / "piped.wav", wave, 16_000)
    content = bytearray((tmp_path / "piped.wav").read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    (tmp_path / "piped.wav").write_bytes(content)
    assert len(audio.read(tmp_path / "piped.wav")) == len(wave)
    with av.open(str(tmp_path / "a.mp3"), "w", format="mp3", options={"write_xing": "0", "id3v2_version": "3"}) as file:
        file.metadata["title"] = "a title, so that a tag stands before the sound"
        stream = file.add_stream("libmp3lame", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave[None].copy(), "fltp", "mono")
        frame.sample_rate = 16_000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    assert b"Xing" not in (tmp_path / "a.mp3").read_bytes() and len(audio.read(tmp_path / "a.mp3")) > 30_000


def test_a_playlist_opens_no_other_file(tmp_path):
    soundfile.write(tmp_path / "a.wav", speechlike(1), 16_000)
    (tmp_path / "list.m4a").write_text("ffconcat version 1.0\nfile a.wav\n")
    (tmp_path / "list2.m4a").write_text("#EXTM3U\n#EXTINF:1,\na.wav\n#EXT-X-ENDLIST\n")
    for name in ("list.m4a", "list2.m4a"):
        with pytest.raises(audio.AudioError, match=f"{name}: .*read"):
            audio.read(tmp_path / name)


def test_a_film_without_sound_and_samples_without_header_are_refused(tmp_path):
    with av.open(str(tmp_path / "film.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 64
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")))
        file.mux(stream.encode(None))
    with pytest.raises(audio.AudioError, match=r"film\.mp4: .*sound"):
        audio.read(tmp_path / "film.mp4")
    (tmp_path / "a.raw").write_bytes(os.urandom(4000))
    with pytest.raises(audio.AudioError, match=r"a\.raw: .*read"):
        audio.read(tmp_path / "a.raw")
    with pytest.raises(audio.AudioError, match=f"{tmp_path}: .*folder"):
        audio.read(tmp_path)


def test_folders_are_searched_for_what_can_be_read(tmp_path):
    for name in ("b/A.M4A", "a.wav", "b/c.webm", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [file.name for file in audio.files_below(tmp_path)] == ["a.wav", "A.M4A", "c.webm"]


def test_read_mixes_to_mono_and_resamples(tmp_path):
    time = np.arange(44_100) / 44_100
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, np.zeros_like(tone)], axis=1), 44_100, subtype="FLOAT")
    wave = audio.read(tmp_path / "a.wav")
    assert wave.dtype == np.float32 and wave.shape == (16_000,)
    expected = 0.25 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(wave[500:-500], expected[500:-500], atol=2e-3)


@pytest.mark.parametrize(("content", "reason"), [(None, "such file"), (b"text", "read"), (b"", "read")])
def test_unreadable_files_are_named(tmp_path, content, reason):
    path = tmp_path / "x.flac"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(audio.AudioError, match=f"x.flac: .*{reason}") as error:
        audio.read(path)
    assert str(path) in str(error.value)


def test_empty_and_non_finite_waves_are_errors(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    soundfile.write(tmp_path / "nan.wav", np.array([0.1, np.nan]), 16_000, subtype="FLOAT")
    with pytest.raises(audio.AudioError, match="empty.wav: .*samples"):
        audio.read(tmp_path / "empty.wav")
    with pytest.raises(audio.AudioError, match="NaN"):
        audio.read(tmp_path / "nan.wav")


def test_fit_crops_from_start_and_repeats_short_waves():
    wave = np.arange(5.0)
    assert audio.fit(wave, 3, start=1).tolist() == [1, 2, 3]
    assert audio.fit(wave, 3, start=99).tolist() == [2, 3, 4]
    assert audio.fit(wave, 12).tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]


def test_random_start_reaches_every_crop():
    rng = np.random.default_rng(0)
    assert {audio.random_start(5, 3, rng) for _ in range(100)} == {0, 1, 2}
    assert audio.random_start(3, 3, rng) == audio.random_start(2, 3, rng) == 0


def test_write_flac_is_16_bit_and_refuses_what_would_clip(tmp_path):
    wave = np.array([0.5, -0.25, 0.0])
    audio.write_flac(tmp_path / "sub" / "a.flac", wave)
    assert soundfile.info(tmp_path / "sub" / "a.flac").subtype == "PCM_16"
    np.testing.assert_allclose(audio.read(tmp_path / "sub" / "a.flac"), wave, atol=2**-15)
    for bad in (np.array([1.5]), np.array([np.nan]), np.zeros(0)):
        with pytest.raises(audio.AudioError):
            audio.write_flac(tmp_path / "b.flac", bad)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sub"]


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.15])
def test_change_speed_moves_length_and_pitch_together(factor):
    wave = np.sin(2 * np.pi * 500 * np.arange(16_000) / 16_000).astype(np.float32)
    faster = audio.change_speed(wave, factor)
    assert abs(len(faster) - 16_000 / factor) <= 1
    spectrum = np.abs(np.fft.rfft(faster * np.hanning(len(faster))))
    assert np.argmax(spectrum) * 16_000 / len(faster) == pytest.approx(500 * factor, abs=2)
