"""The bona fide recordings: files, speakers, languages, and the split of each speaker."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import numpy as np
import soundfile
import soxr

from aasist_lib.audio import RATE, AudioError, read
from demo_corpus.channel import decode
from demo_corpus.packages import SourceError, unpack
from demo_corpus.seeds import generator

MIN_SECONDS = 1.0
_AUDIO = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".g722", ".aiff", ".aif")
_BYTES_A_SECOND = {".g722": 8000, ".als": 11_025}
_ALS_HEADER = 40
_NOT_SPEECH = re.compile(r"beep|tone|monkeys|silence|ascending|descending")


@dataclass(frozen=True)
class Recording:
    """One file of one speaker. `speaker` is the corpus' own name for the speaker, `language` an ISO 639-1 code."""

    path: Path
    speaker: str
    language: str
    split: str


@dataclass(frozen=True)
class _Speaker:
    name: str
    package: str
    files: str
    language: str
    split: str


_ASTERISK = "usr/share/asterisk/sounds/*/**/*.g722"
_LINES = "usr/share/scummvm/drascula/en/{}*.ALS"
_FILLETS = "usr/share/games/fillets-ng/sound/*/*/*.ogg"
SPEAKERS = (
    _Speaker("asterisk-en", "asterisk-core-sounds-en-g722", _ASTERISK, "en", "train"),
    _Speaker("asterisk-es", "asterisk-core-sounds-es-g722", _ASTERISK, "es", "train"),
    _Speaker("asterisk-it", "asterisk-core-sounds-it-g722", _ASTERISK, "it", "train"),
    _Speaker("fillets-cs-v", "fillets-ng-data-cs", _FILLETS, "cs", "train"),
    _Speaker("fillets-nl-m", "fillets-ng-data-nl", _FILLETS, "nl", "train"),
    _Speaker("asterisk-fr", "asterisk-core-sounds-fr-g722", _ASTERISK, "fr", "dev"),
    _Speaker("fillets-cs-m", "fillets-ng-data-cs", _FILLETS, "cs", "dev"),
    _Speaker("asterisk-ru", "asterisk-core-sounds-ru-g722", _ASTERISK, "ru", "eval"),
    _Speaker("fillets-nl-v", "fillets-ng-data-nl", _FILLETS, "nl", "eval"),
    *(_Speaker(f"drascula-{name.lower()}", "drascula", _LINES.format(files), "en", "train")
      for name, files in (("hero", "[0-9]"), *((letter, letter) for letter in "BDEILTV"))),
)  # fmt: skip
"""The seventeen speakers of the packages. English and Spanish prompts are credited to the same person, so both are in train."""
_LETTERS = "usr/share/klettres/{}/*/*.ogg"
EXTRA_SPEAKERS = (
    _Speaker("festvox-ru", "festvox-ru", "usr/share/festival/voices/russian/*/wav/*.wav", "ru", "train"),
    *(_Speaker(f"klettres-{name.lower()}", "klettres-data", _LETTERS.format(name), "fr" if name == "fr" else "en", "train")
      for name in ("de", "en", "en_GB", "fr", "hu", "lt", "ml", "uk")),
)  # fmt: skip
"""Speakers that `full` adds, all to train, so that dev and eval stay the same. If there are no sentences in a speaker's
language, text-to-speech uses English ones."""


def collect(bonafide: str, full: bool, downloads: Path, seed: int, say: Callable[[str], None] = print) -> list[Recording]:
    """Return all recordings of a source, in a fixed order.

    Args:
        bonafide: 'debian', 'librispeech', or a folder whose sub-folders are speakers.
        full: with 'debian', also the larger packages.
        downloads: folder for downloaded packages.
        seed: seed for assigning a folder's speakers to splits.

    Raises:
        SourceError: the recordings cannot be obtained, or there are too few speakers.
    """
    if bonafide == "debian":
        return _from_packages(full, downloads, say)
    if full:
        raise SourceError(f"data.full adds Debian packages; with bonafide = '{bonafide}' set it to false")
    return _from_folder(_librispeech(downloads, say) if bonafide == "librispeech" else Path(bonafide), seed)


def load(path: Path) -> np.ndarray:
    """Read a recording as mono float32 at 16 kHz, `(samples,)`.

    Raises:
        AudioError: the file is damaged or empty.
    """
    suffix = path.suffix.lower()
    if suffix not in _BYTES_A_SECOND:
        return read(path, RATE)
    if path.stat().st_size <= _ALS_HEADER:
        raise AudioError(f"{path}: contains no samples")
    if suffix == ".g722":
        return decode(str(path), "g722").astype(np.float32)
    return _read_als(path)


def seconds(path: Path) -> float:
    """Return the duration in seconds, from the header or the file size; 0 if the header cannot be read."""
    if (suffix := path.suffix.lower()) in _BYTES_A_SECOND:
        return path.stat().st_size / _BYTES_A_SECOND[suffix]
    try:
        return soundfile.info(str(path)).duration
    except soundfile.SoundFileError:
        return 0.0


def _read_als(path: Path) -> np.ndarray:
    """Read a line of Drascula: unsigned 8-bit samples, in some files after a RIFF header without its first word."""
    coded = path.read_bytes()
    start = _ALS_HEADER if coded[4:8] == b"WAVE" else 0
    wave = np.frombuffer(coded, dtype=np.uint8, offset=start).astype(np.float32) / 128 - 1
    return soxr.resample(wave, _BYTES_A_SECOND[".als"], RATE)


def _from_packages(full: bool, downloads: Path, say: Callable[[str], None]) -> list[Recording]:
    speakers = SPEAKERS + (EXTRA_SPEAKERS if full else ())
    folders = unpack(sorted({speaker.package for speaker in speakers}), downloads, say)
    found: list[Recording] = []
    for speaker in speakers:
        files = [file for file in sorted(folders[speaker.package].glob(speaker.files)) if _belongs(file, speaker)]
        if not files:
            raise SourceError(f"{folders[speaker.package]}: no recordings of {speaker.name}; delete it and rerun the command")
        _refuse_outside(files, folders[speaker.package])
        found += [Recording(file, speaker.name, speaker.language, speaker.split) for file in files]
    return found


def _refuse_outside(files: list[Path], folder: Path) -> None:
    """Reject links that point outside the package, so that no other file of this machine is used as a recording."""
    inside = folder.resolve()
    outside = [file for file in files if not file.resolve().is_relative_to(inside)]
    if outside:
        raise SourceError(f"{outside[0]}: link out of its package; delete {folder} and its .deb, and rerun the command")


def _belongs(file: Path, speaker: _Speaker) -> bool:
    if speaker.package.startswith("fillets"):
        labels = [part for part in file.stem.split("-") if part in ("m", "v")]
        return labels == [speaker.name[-1]]
    return not _NOT_SPEECH.search(f"{file.parent.name}/{file.stem}")


def _from_folder(folder: Path, seed: int) -> list[Recording]:
    if not folder.is_dir():
        raise SourceError(f"bonafide = '{folder}': no such folder; use 'debian', 'librispeech' or a folder")
    speakers = sorted(path for path in folder.iterdir() if path.is_dir() and _audio_files(path))
    if len(speakers) < 3:
        raise SourceError(
            f"bonafide = '{folder}': {len(speakers)} sub-folders with recordings; train, dev and eval need one "
            "speaker each, so at least three sub-folders (one per speaker)"
        )
    held_out = max(1, round(0.2 * len(speakers)))
    order = generator(seed, "splits").permutation(len(speakers))
    splits = dict.fromkeys(order[:held_out], "dev") | dict.fromkeys(order[held_out : 2 * held_out], "eval")
    return [
        Recording(file, name, "en", splits.get(rank, "train"))
        for rank, (path, name) in enumerate(zip(speakers, _names(speakers), strict=True))
        for file in _audio_files(path)
    ]


def _audio_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _AUDIO)


def _names(folders: list[Path]) -> list[str]:
    """Return a unique name for each folder, of lower-case ASCII letters, digits and hyphens; duplicates get a number."""
    names: list[str] = []
    for folder in folders:
        plain = re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-") or "speaker"
        numbered = chain([plain], (f"{plain}-{number}" for number in count(2)))
        names.append(next(name for name in numbered if name not in names))
    return names


def _librispeech(downloads: Path, say: Callable[[str], None]) -> Path:
    subset = "dev-clean"
    folder = downloads / "LibriSpeech" / subset
    if folder.is_dir():
        return folder
    try:
        from torchaudio.datasets import LIBRISPEECH
    except (ImportError, OSError) as error:
        raise SourceError(f"bonafide = 'librispeech' needs a working torchaudio: {error}; run `make setup`") from error
    say(f"torchaudio: downloading LibriSpeech {subset}, 340 MB")
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        # In a new folder: torchaudio checks the sha256 of a download, but uses an existing archive without a check.
        with tempfile.TemporaryDirectory(prefix=".librispeech-", dir=downloads) as fresh:
            LIBRISPEECH(fresh, url=subset, download=True)
            os.replace(Path(fresh) / "LibriSpeech" / subset, folder)
    except (OSError, RuntimeError) as error:
        raise SourceError(
            f"LibriSpeech {subset} cannot be downloaded ({error}). Use `--bonafide debian` if apt-get is available, or "
            "`--bonafide DIR`, a folder of recordings with one sub-folder per speaker."
        ) from error
    return folder
