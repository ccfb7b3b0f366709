"""Who is in the demo corpus: which recordings are drawn, and which attacks are made from each."""

from collections import Counter
from pathlib import Path

import pytest

from demo_corpus import KNOWN_ATTACKS, UNSEEN_ATTACKS, plan
from demo_corpus.plan import draw
from demo_corpus.seeds import generator
from demo_corpus.sources import Recording


@pytest.fixture
def lengths(monkeypatch) -> dict[str, float]:
    """Seconds of the recordings by their file name, 2 where nothing else is put in."""
    found: dict[str, float] = {}
    monkeypatch.setattr(plan, "seconds", lambda path: found.get(path.name, 2.0))
    return found


def recordings(speaker: str, split: str, count: int, language: str = "en") -> list[Recording]:
    return [Recording(Path(speaker) / f"{number:02}.wav", speaker, language, split) for number in range(count)]


def files(tasks) -> list[str]:
    return [str(task.recording.path) for task in tasks]


def test_every_speaker_gives_as_many_recordings(lengths):
    people = recordings("a", "train", 9) + recordings("b", "dev", 9) + recordings("c", "eval", 9)
    assert Counter(task.recording.split for task in draw(people, 6, 0)) == {"train": 6, "dev": 6, "eval": 6}
    assert Counter(task.recording.split for task in draw(people, 1, 0)) == {"train": 1, "dev": 1, "eval": 1}
    assert Counter(task.recording.split for task in draw(people, 20, 0)) == {"train": 9, "dev": 9, "eval": 9}


def test_what_is_drawn_hangs_on_the_seed_and_the_speaker_alone(lengths):
    people = recordings("a", "train", 8) + recordings("b", "train", 8)
    tasks = draw(people, 3, 7)
    assert files(tasks[:3]) == [f"a/{index:02}.wav" for index in generator(7, "recordings", "a").permutation(8)[:3]]
    assert draw(reversed(people), 3, 7) == tasks
    assert draw(recordings("b", "train", 8), 3, 7) == tasks[3:]
    assert files(draw(people, 3, 8)) != files(tasks)


def test_a_single_recording_of_a_speaker_is_enough(lengths):
    assert files(draw(recordings("a", "train", 1) + recordings("b", "dev", 1), 4, 0)) == ["a/00.wav", "b/00.wav"]


def test_recordings_that_trimming_would_leave_too_short_are_passed_over(lengths):
    people = recordings("a", "train", 4)
    lengths |= {"00.wav": 1.29, "01.wav": 1.3, "02.wav": 0}  # 0: no header; the build says what is wrong with the file
    assert sorted(files(draw(people, 4, 0))) == ["a/01.wav", "a/02.wav", "a/03.wav"]
    lengths |= dict.fromkeys([f"{number:02}.wav" for number in range(4)], 0.5)
    assert draw(people, 4, 0) == []


def test_a_recording_is_passed_over_for_the_next_one(lengths):
    order = generator(0, "recordings", "a").permutation(6)
    lengths[f"{order[0]:02}.wav"] = 0.5
    assert files(draw(recordings("a", "train", 6), 2, 0)) == [f"a/{index:02}.wav" for index in order[1:3]]


@pytest.mark.parametrize(("split", "each", "attacks"), [
    ("train", 2, KNOWN_ATTACKS), ("dev", 3, KNOWN_ATTACKS), ("eval", 3, KNOWN_ATTACKS + UNSEEN_ATTACKS),
])  # fmt: skip
def test_attacks_go_round_in_turn(lengths, split, each, attacks):
    tasks = draw(recordings("a", split, 7), 20, 3)
    assert [len(task.clips) for task in tasks] == [1 + each] * 7
    assert all(len({clip.attack for clip in task.clips}) == 1 + each for task in tasks)
    turn = [attacks[index] for index in generator(3, "attacks", "a").permutation(len(attacks))]
    dealt = [clip.attack for task in tasks for clip in task.clips[1:]]
    assert dealt == (turn * 7)[: len(dealt)] and set(dealt) == set(attacks)


def test_clips_are_named_by_split_speaker_number_and_attack(lengths):
    for number, task in enumerate(draw(recordings("a", "dev", 3), 6, 0)):
        first, *others = task.clips
        assert (first.utt_id, first.attack, first.voice) == (f"dev-a-{number:04d}-bonafide", "-", "a")
        assert [clip.utt_id for clip in others] == [f"dev-a-{number:04d}-{clip.attack}" for clip in others]


def voices(split: str, language: str) -> dict[str, list[str]]:
    """The voices of a speaker's clips in order, by attack."""
    found: dict[str, list[str]] = {}
    for task in draw(recordings("a", split, 40, language), 80, 0):
        for clip in task.clips:
            found.setdefault(clip.attack, []).append(clip.voice)
    return found


def test_copies_and_conversions_keep_the_speaker_and_neural_voices_are_their_own(lengths):
    for attack, found in voices("eval", "ru").items():
        if attack != "espeak":
            assert set(found) == {attack if attack in ("hibari", "piper") else "a"}, attack


@pytest.mark.parametrize(("language", "name"), [("en", "en-us"), ("ru", "ru")])
def test_espeak_speaks_the_language_with_voices_of_the_split_alone(lengths, language, name):
    variants = {"train": ("m1", "m3", "f1", "f2"), "dev": ("m2", "f3"), "eval": ("m4", "f4")}
    for split, known in variants.items():
        found = [
            (number, clip.voice)
            for number, task in enumerate(draw(recordings("a", split, 40, language), 80, 0))
            for clip in task.clips
            if clip.attack == "espeak"
        ]
        assert len(found) > 8
        assert all(voice == f"espeak-{name}+{known[number % len(known)]}" for number, voice in found)
