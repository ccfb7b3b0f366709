"""Plan of the corpus: the recordings used, and the attacks made from each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from demo_corpus.attacks import KNOWN_ATTACKS, TTS_ATTACKS, UNSEEN_ATTACKS
from demo_corpus.seeds import generator
from demo_corpus.sources import MIN_SECONDS, Recording, seconds

ATTACKS_A_CLIP = {"train": 2, "dev": 3, "eval": 3}
_TRIMMED = 0.3
_VARIANTS = {"train": ("m1", "m3", "f1", "f2"), "dev": ("m2", "f3"), "eval": ("m4", "f4")}
_ESPEAK = {"en": "en-us"}


@dataclass(frozen=True)
class Clip:
    """One clip to be written. `attack` is '-' for bona fide; `voice` is the value of the table's speaker column."""

    utt_id: str
    attack: str
    voice: str


@dataclass(frozen=True)
class Task:
    """One recording and every clip made from it."""

    recording: Recording
    clips: tuple[Clip, ...]


def draw(recordings: Iterable[Recording], clips_per_speaker: int, seed: int) -> list[Task]:
    """Return the tasks of a build, in a fixed order: each speaker's recordings, drawn by `seed`, with their attacks."""
    tasks: list[Task] = []
    for speaker, group in groupby(sorted(recordings, key=lambda r: (r.speaker, str(r.path))), key=lambda r: r.speaker):
        own = list(group)
        chosen: list[Recording] = []
        for index in generator(seed, "recordings", speaker).permutation(len(own)):
            if len(chosen) == clips_per_speaker:
                break
            length = seconds(own[index].path)
            if length == 0 or length >= MIN_SECONDS + _TRIMMED:
                chosen.append(own[index])
        tasks += _deal(chosen, speaker, own[0].split, seed)
    return tasks


def _deal(recordings: list[Recording], speaker: str, split: str, seed: int) -> list[Task]:
    """Assign attacks in turn, so that the numbers of clips per attack of a speaker differ by at most one."""
    attacks = KNOWN_ATTACKS + (UNSEEN_ATTACKS if split == "eval" else ())
    turn = [attacks[index] for index in generator(seed, "attacks", speaker).permutation(len(attacks))]
    tasks, dealt = [], 0
    for number, recording in enumerate(recordings):
        name = f"{split}-{speaker}-{number:04d}"
        clips = [Clip(f"{name}-bonafide", "-", speaker)]
        for _ in range(ATTACKS_A_CLIP[split]):
            attack = turn[dealt % len(turn)]
            dealt += 1
            clips.append(Clip(f"{name}-{attack}", attack, _voice(attack, recording, number)))
        tasks.append(Task(recording, tuple(clips)))
    return tasks


def _voice(attack: str, recording: Recording, number: int) -> str:
    if attack not in TTS_ATTACKS:
        return recording.speaker
    if attack != "espeak":
        return attack
    variants = _VARIANTS[recording.split]
    language = _ESPEAK.get(recording.language, recording.language)
    return f"espeak-{language}+{variants[number % len(variants)]}"
