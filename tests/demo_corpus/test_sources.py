"""Recordings of people: which are found, whose they are, and how they are read."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from aasist_lib.audio import AudioError
from demo_corpus import sources
from demo_corpus.packages import SourceError
from demo_corpus.sources import EXTRA_SPEAKERS, SPEAKERS, Recording, collect, load, seconds
from tests.corpora.conftest import RATE, record


def quiet(_: str) -> None:
    """A `say` that says nothing."""


def g722(path: Path, wave: np.ndarray) -> Path:
    """16 kHz `(samples,)` as G.722."""
    with av.open(str(path), "w", format="g722") as output:
        stream = output.add_stream("g722", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.round(wave * 32767).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate = RATE
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


# ---- Debian packages -------------------------------------------------------------------------------------------------


FILES = {
    "fillets": ("first/{}-a.ogg", "first/x-{}.ogg", "first/hs-b.ogg"),
    "asterisk": ("en/a.g722", "en/digits/1.g722", "en/beep.g722", "en/silence/5.g722", "en/b.wav"),
    "festvox": ("x_ru/wav/1.wav", "x_ru/wav/2.wav", "x_ru/other/3.wav"),
    "klettres": ("/alpha/a.ogg", "/syllab/b.ogg", "/c.ogg"),
    "drascula": ("1.ALS", "23.ALS", "4.wav"),
}
"""By kind of package; of each the first two are recordings of the speaker, `{}` by the speaker's letter."""


def files(folder: Path, speaker: sources._Speaker) -> list[Path]:
    """Where these lie in a folder of packages: before the first wildcard of the speaker's pattern."""
    kind = speaker.package.partition("-")[0]
    before = speaker.files.replace("[0-9]", "7").partition("*")[0].removesuffix("/" * (kind == "klettres"))
    share = "share/" * (kind == "fillets")
    return [folder / speaker.package / f"{before}{share}{name.format(speaker.name[-1])}" for name in FILES[kind]]


@pytest.fixture
def unpacked(tmp_path, monkeypatch):
    """All packages lie unpacked in the temporary folder; gives what was asked of `unpack`."""
    for speaker in SPEAKERS + EXTRA_SPEAKERS:
        for path in files(tmp_path, speaker):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    asked: list[tuple] = []

    def unpack(packages, downloads, say):
        asked.append((packages, downloads, say))
        return {name: tmp_path / name for name in packages}

    monkeypatch.setattr(sources, "unpack", unpack)
    return asked


def test_recordings_of_packages_are_their_speakers_in_a_fixed_order(tmp_path, unpacked):
    found = collect("debian", False, tmp_path / "downloads", 1, quiet)
    assert unpacked == [(sorted({speaker.package for speaker in SPEAKERS}), tmp_path / "downloads", quiet)]
    assert found == [
        Recording(file, speaker.name, speaker.language, speaker.split)
        for speaker in SPEAKERS
        for file in files(tmp_path, speaker)[:2]
    ]


def test_full_adds_the_larger_packages_behind_the_others(tmp_path, unpacked):
    small, large = (collect("debian", full, tmp_path, 1, quiet) for full in (False, True))
    assert large[: len(small)] == small and len(unpacked[1][0]) == len(set(unpacked[1][0])) > len(unpacked[0][0])
    assert unpacked[1][0] == sorted(unpacked[1][0])
    assert large[len(small) :] == [
        Recording(file, speaker.name, speaker.language, "train")
        for speaker in EXTRA_SPEAKERS
        for file in files(tmp_path, speaker)[:2]
    ]


def test_a_package_without_recordings_of_a_speaker_is_named(tmp_path, unpacked):
    for file in (tmp_path / "fillets-ng-data-cs").rglob("*v*.ogg"):
        file.unlink()
    with pytest.raises(SourceError, match=f"^{tmp_path / 'fillets-ng-data-cs'}: .* fillets-cs-v; "):
        collect("debian", False, tmp_path, 1, quiet)


def test_a_link_that_leads_out_of_its_package_is_named_and_one_inside_is_not(tmp_path, unpacked):
    folder = tmp_path / SPEAKERS[0].package
    inside = folder / "usr/share/asterisk/sounds/en"
    (inside / "again.g722").symlink_to(inside / "a.g722")
    assert inside / "again.g722" in [recording.path for recording in collect("debian", False, tmp_path, 1, quiet)]
    (inside / "out.g722").symlink_to(tmp_path / SPEAKERS[1].package / "usr/share/asterisk/sounds/en/a.g722")
    with pytest.raises(SourceError, match=f"^{inside / 'out.g722'}: .* {folder} "):
        collect("debian", False, tmp_path, 1, quiet)


# ---- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_gives_its_recordings_by_speaker_and_its_seed_draws_the_splits(tmp_path):
    names = [f"Anna {number:02}" for number in range(12)]
    for name in names:
        record(tmp_path / name / "b.wav", tmp_path / name / "day" / "a.FLAC")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").touch()
    record(tmp_path / "lost.wav")

    def splits(seed: int) -> dict[str, str]:
        found = collect(str(tmp_path), False, tmp_path, seed, quiet)
        files = [tmp_path / name / file for name in names for file in ("b.wav", "day/a.FLAC")]
        assert [recording.path for recording in found] == files
        assert [recording.speaker for recording in found] == [f"anna-{number:02}" for number in range(12) for _ in range(2)]
        assert {recording.language for recording in found} == {"en"}
        pairs = {(recording.speaker, recording.split) for recording in found}
        assert len(pairs) == 12
        return dict(pairs)

    drawn = [splits(seed) for seed in range(12)]
    assert all(sorted(one.values()) == ["dev"] * 2 + ["eval"] * 2 + ["train"] * 8 for one in drawn)
    assert drawn[3] == splits(3) and len({tuple(one.values()) for one in drawn}) > 8
    held_out = {name for one in drawn for name, split in one.items() if split != "train"}
    assert len(held_out) > 8


def test_who_is_held_out_of_a_folder_stays_from_version_to_version(tmp_path):
    """A folder's splits are part of the recipe."""
    for name in "abcdefg":
        record(tmp_path / name / "a.wav")
    splits = {recording.speaker: recording.split for recording in collect(str(tmp_path), False, tmp_path, 1, quiet)}
    assert {name: split for name, split in splits.items() if split != "train"} == {"c": "eval", "d": "dev"}


@pytest.mark.parametrize("speakers", [0, 2])
def test_a_folder_of_too_few_speakers_says_how_many_are_needed(tmp_path, speakers):
    for number in range(speakers):
        record(tmp_path / f"{number}" / "a.wav")
    with pytest.raises(SourceError, match=f"^bonafide = '{tmp_path}': {speakers} .*three sub-folders"):
        collect(str(tmp_path), False, tmp_path, 1, quiet)


def test_three_speakers_are_enough(tmp_path):
    for number in range(3):
        record(tmp_path / f"{number}" / "a.wav")
    found = collect(str(tmp_path), False, tmp_path, 1, quiet)
    assert sorted(recording.split for recording in found) == ["dev", "eval", "train"]


def test_two_folders_are_two_speakers_whatever_their_names(tmp_path):
    """Names go into names of files; people whose names have no Latin letters are no less apart."""
    names = ["Анна", "Борис", "Јован", "Ann B", "ann-b", "_Ann..B_", "speaker-2", "XL", "Zoë 7"]
    for name in names:
        record(tmp_path / name / "a.wav")
    found = collect(str(tmp_path), False, tmp_path, 1, quiet)
    speakers = {recording.path.parent.name: recording.speaker for recording in found}
    assert len(set(speakers.values())) == len(names)
    assert {speakers["Ann B"], speakers["ann-b"], speakers["_Ann..B_"]} == {"ann-b", "ann-b-2", "ann-b-3"}
    assert speakers["XL"] == "xl" and speakers["Zoë 7"] == "zo-7"
    assert {speakers[name] for name in ("Анна", "Борис", "Јован")} == {"speaker", "speaker-3", "speaker-4"}


# ---- LibriSpeech -----------------------------------------------------------------------------------------------------


@pytest.fixture
def librispeech(monkeypatch):
    """A `LIBRISPEECH` that leaves three speakers' recordings; what was asked of it."""
    import torchaudio.datasets

    asked: list[tuple] = []

    def fetch(root, *, url, download):
        asked.append((Path(root), url, download))
        for speaker in ("84", "174", "251"):
            record(Path(root) / "LibriSpeech" / url / speaker / "1" / f"{speaker}-1.flac")

    monkeypatch.setattr(torchaudio.datasets, "LIBRISPEECH", fetch)
    return asked


def test_librispeech_is_downloaded_once_and_put_in_place_when_it_is_whole(tmp_path, librispeech):
    said: list[str] = []
    downloads = tmp_path / "data" / "downloads"
    downloads.mkdir(parents=True)
    found = collect("librispeech", False, downloads, 1, said.append)
    assert said == ["torchaudio: downloading LibriSpeech dev-clean, 340 MB"]
    assert sorted(recording.speaker for recording in found) == ["174", "251", "84"]
    place = downloads / "LibriSpeech" / "dev-clean"
    assert all(recording.path.is_relative_to(place) and recording.path.is_file() for recording in found)
    ((root, *options),) = librispeech
    assert options == ["dev-clean", True]
    assert root.parent == downloads and root.name.startswith(".librispeech-") and not root.exists()
    assert [path.name for path in downloads.iterdir()] == ["LibriSpeech"]
    assert collect("librispeech", False, downloads, 1, pytest.fail) == found and len(librispeech) == 1


def test_the_folder_of_downloads_is_made_where_it_is_missing(tmp_path, librispeech):
    (tmp_path / "empty" / "LibriSpeech").mkdir(parents=True)
    for name in ("new", "empty"):
        assert len(collect("librispeech", False, tmp_path / name, 1, quiet)) == 3


def test_librispeech_that_cannot_be_had_names_the_alternatives(tmp_path, monkeypatch):
    import torchaudio.datasets

    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torchaudio.datasets, "LIBRISPEECH", refuse)
    said = r"^LibriSpeech dev-clean .*\(no route to host\).*`--bonafide debian`.* apt-get .*`--bonafide DIR`"
    with pytest.raises(SourceError, match=said):
        collect("librispeech", False, tmp_path, 1, quiet)
    assert list((tmp_path / "LibriSpeech").iterdir()) == []


def test_librispeech_without_torchaudio_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio.datasets", None)
    with pytest.raises(SourceError, match="^bonafide = 'librispeech' .*torchaudio.*`make setup`$"):
        collect("librispeech", False, tmp_path, 1, quiet)


def test_full_is_for_packages_only(tmp_path):
    for bonafide in (str(tmp_path), "librispeech"):
        with pytest.raises(SourceError, match=f"^data.full .*bonafide = '{bonafide}'"):
            collect(bonafide, True, tmp_path, 1, quiet)


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_every_format_of_the_packages_is_read_at_16_khz(tmp_path):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)
    slow = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * 11_025) / 11_025)
    soundfile.write(tmp_path / "a.wav", slow, 11_025)
    soundfile.write(tmp_path / "a.flac", np.stack([tone, tone], axis=1), RATE)
    g722(tmp_path / "a.g722", tone)
    g722(tmp_path / "b.G722", tone)
    (tmp_path / "a.ALS").write_bytes(np.round(slow * 128 + 128).astype(np.uint8).tobytes())
    for file in sorted(tmp_path.iterdir()):
        wave = load(file)
        assert wave.dtype == np.float32 and wave.ndim == 1, file
        assert len(wave) == pytest.approx(2 * RATE, abs=50), file
        middle = wave[RATE // 2 : RATE]
        power = np.abs(np.fft.rfft(middle)) ** 2
        assert power.argmax() * 2 == 440 and power[215:226].sum() > 0.99 * power.sum(), file
        assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(0.5, rel=0.01), file
        assert seconds(file) == pytest.approx(2, abs=0.01), file


def test_unsigned_bytes_span_full_scale(tmp_path):
    (tmp_path / "a.ALS").write_bytes(bytes([0]) * 11_025)
    np.testing.assert_allclose(load(tmp_path / "a.ALS")[4_000:-4_000], -1, atol=1e-4)
    (tmp_path / "a.ALS").write_bytes(bytes([192]) * 11_025)
    np.testing.assert_allclose(load(tmp_path / "a.ALS")[4_000:-4_000], 0.5, atol=1e-4)


@pytest.mark.parametrize("name", ["a.g722", "a.ALS"])
def test_a_file_of_a_header_alone_holds_no_samples(tmp_path, name):
    for size in (0, 40):
        (tmp_path / name).write_bytes(bytes(size))
        with pytest.raises(AudioError, match=f"^{tmp_path / name}: .*samples"):
            load(tmp_path / name)
    (tmp_path / name).write_bytes(bytes(41))
    assert len(load(tmp_path / name)) > 40


def test_the_duration_of_a_broken_file_is_0(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF, or not")
    assert seconds(tmp_path / "a.wav") == 0
