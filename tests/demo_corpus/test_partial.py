import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import butter, sosfiltfilt

from aasist_lib.config import DataConfig
from aasist_lib.corpora import validate
from demo_corpus import KNOWN_ATTACKS, SourceError, channel, partial
from demo_corpus.attacks import ATTACKS, Source
from demo_corpus.partial import (
    FADE_SECONDS,
    KINDS,
    MARGIN_SECONDS,
    aligned_attacks,
    build_partial,
    compose,
    delay,
    draw_segment,
    splice,
)
from demo_corpus.seeds import generator
from tests.demo_corpus.conftest import talk

RATE, SAMPLES = 16_000, 32_000


@pytest.fixture
def config(tmp_path):
    """A maker of profile sections: three speakers, each with three recordings of 2.4 s."""
    folder = tmp_path / "people"
    for number in range(9):
        (folder / f"{number // 3}").mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{number // 3}" / f"{number}.wav", talk(number, seconds=2.4), RATE)
    return lambda name, **more: DataConfig(root=tmp_path / name, bonafide=str(folder), clips_per_speaker=6, **more)


def quiet(_: str) -> None:
    """A `say` that says nothing."""


def burst(source: Source, rng: np.random.Generator) -> np.ndarray:
    """An attack that is easy to see: a tone at 5 kHz, where `talk` has hardly anything."""
    return 0.1 * np.sin(2 * np.pi * 5000 * np.arange(len(source.wave)) / RATE)


def loud_stretch(wave: np.ndarray) -> tuple[float, float]:
    """Where the tone of `burst` begins and ends, in seconds: where its level crosses half of its median inside."""
    band = sosfiltfilt(butter(4, (4800, 5200), "bandpass", fs=RATE, output="sos"), wave)
    level = np.sqrt(np.convolve(band**2, np.ones(32) / 32, mode="same"))
    above = np.flatnonzero(level > 0.5 * np.quantile(level[level > 0.3 * level.max()], 0.5))
    return above[0] / RATE, (above[-1] + 1) / RATE


def test_a_set_is_complete_and_the_same_with_one_worker_and_two_and_read_the_second_time(config, monkeypatch):
    data, said = config("one"), []
    table = build_partial(data, "eval", 2, SAMPLES, workers=1, say=said.append)
    assert list(table["kind"]) == list(KINDS) * 2 and table["recording"].nunique() == 2
    validate(table, "partial")
    assert set(table["split"]) == {"eval"} and table["speaker"].nunique() == 1
    assert (table["label"] == np.where(table["kind"] == "control", "bonafide", "spoof")).all()
    assert ((table["attack"] == "-") == (table["kind"] == "control")).all()
    assert (table.groupby("recording")["codec"].nunique() == 1).all()
    lengths = np.array([soundfile.info(path).frames for path in table["path"]])
    assert (lengths <= SAMPLES).all()
    assert (table["start"] > 0.05).all() and (table["end"] < lengths / RATE - 0.05).all()
    assert (table["end"] - table["start"]).between(0.4, 1.2).all()
    assert "2 recordings" in said[-1]

    again = build_partial(config("two"), "eval", 2, SAMPLES, workers=2, say=quiet)
    assert again.drop(columns="path").equals(table.drop(columns="path"))
    sums = [[hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in part["path"]] for part in (table, again)]
    assert sums[0] == sums[1] and len(set(sums[0])) == 6
    monkeypatch.setattr(partial, "_run", None)
    assert build_partial(data, "eval", 2, SAMPLES).equals(table)


def test_a_lost_clip_or_another_setting_makes_the_set_again(config):
    data = config("again")
    table = build_partial(data, "dev", 1, SAMPLES, workers=1, say=quiet)
    Path(table["path"][0]).unlink()
    (left := data.root / "partial" / ".tmp-0123456789ab.parquet").write_text("half")  # by a killed process
    assert build_partial(data, "dev", 1, SAMPLES, workers=1, say=quiet).equals(table) and not left.exists()
    larger = build_partial(data, "dev", 2, SAMPLES, workers=1, say=quiet)
    assert len(larger) == 6
    assert build_partial(data, "dev", 1, SAMPLES, say=pytest.fail).equals(larger.head(3)) and larger.head(3).equals(table)
    other = build_partial(data.model_copy(update={"seed": 7}), "dev", 1, SAMPLES, workers=1, say=quiet)
    assert other["start"][0] != table["start"][0]
    assert len(list((data.root / "partial" / "dev").iterdir())) == 3


@pytest.mark.parametrize("codec", channel.CODEC_NAMES)
def test_the_segment_is_where_the_table_says_within_five_milliseconds(codec, config, monkeypatch):
    monkeypatch.setattr(channel, "CODEC_NAMES", (codec,))
    monkeypatch.setattr(channel, "HIGH_HZ", (7000, 8000))  # above the tone
    monkeypatch.setattr(channel, "top_of", lambda wave: 8000.0)
    monkeypatch.setitem(ATTACKS, "burst", burst)
    monkeypatch.setattr(partial, "aligned_attacks", lambda split: ("burst",))
    table = build_partial(config(codec), "eval", 3, SAMPLES, workers=1, say=quiet)
    assert set(table["codec"]) == {codec}
    for clip in table[table["kind"] == "spoof in bona fide"].itertuples():
        wave = soundfile.read(clip.path)[0]
        assert loud_stretch(wave) == pytest.approx((clip.start, clip.end), abs=0.005)


def test_what_the_channel_trims_is_found_again():
    wave = np.concatenate([1e-5 * np.random.default_rng(0).standard_normal(3_000), talk(3), np.zeros(2_000)])
    for codec in channel.CODEC_NAMES:
        sent = channel.transmit(wave, codec, generator(1, codec))
        late = delay(wave, sent)
        assert late < -2_000
        first = sent[: RATE // 2].astype(float)
        assert np.corrcoef(first, wave[-late : -late + len(first)])[0, 1] > 0.5
    assert delay(wave, wave[700:]) == -700 and delay(wave, np.pad(wave, (40, 0))) == 40


def test_a_splice_changes_the_segment_alone_at_the_level_of_its_host():
    host, inside = talk(1), 3 * talk(2)
    half = round(FADE_SECONDS * RATE / 2)
    made = splice(host, inside, 8_000, 16_000)
    assert np.array_equal(made[: 8_000 - half], host[: 8_000 - half]) and np.array_equal(
        made[16_000 + half :], host[16_000 + half :]
    )
    kept = slice(8_000 + half, 16_000 - half)
    gain = made[kept] @ inside[kept] / (inside[kept] @ inside[kept])
    np.testing.assert_allclose(made[kept], gain * inside[kept], atol=1e-12)
    assert np.mean(made[8_000:16_000] ** 2) == pytest.approx(np.mean(host[8_000:16_000] ** 2), rel=0.1)
    np.testing.assert_allclose(splice(host, 2 * host, 8_000, 16_000), host, atol=1e-12)


def test_a_control_is_its_own_clip_but_for_a_move_of_milliseconds_inside():
    wave = talk(4)
    (_, start, end), _, (control, *same) = compose(wave, talk(5), generator(1, "control"))
    assert [start, end] == same
    half = round(FADE_SECONDS * RATE / 2)
    outside = np.r_[: start - half, end + half : len(wave)]
    assert np.array_equal(control[outside], wave[outside])
    inner = control[start + half : end - half]
    matches = {
        move: np.corrcoef(inner, wave[start + half + move : end - half + move])[0, 1] for move in range(-200, 201) if move
    }
    move = max(matches, key=matches.get)
    assert matches[move] == pytest.approx(1, abs=1e-9) and 0.004 * RATE <= abs(move) <= 0.012 * RATE


def test_the_reverse_has_the_segments_the_other_way_round():
    bonafide, spoof = talk(6), 0.5 * talk(7)
    (one, start, end), (other, *same), _ = compose(bonafide, spoof[:-50], generator(2, "reverse"))
    assert [start, end] == same and len(one) == len(other) == len(spoof) - 50
    middle = slice(start + 100, end - 100)
    assert np.corrcoef(one[middle], spoof[middle])[0, 1] == pytest.approx(1)
    assert np.corrcoef(other[middle], bonafide[middle])[0, 1] == pytest.approx(1)
    assert np.array_equal(one[: start - 100], bonafide[: start - 100])
    assert np.array_equal(other[: start - 100], spoof[: start - 100])


def test_segments_lie_over_speech_away_from_the_edges():
    wave = 1e-4 * np.random.default_rng(0).standard_normal(3 * RATE)
    wave[RATE : 2 * RATE] += 0.1 * np.sin(np.arange(RATE) / 5)
    places = [draw_segment(wave, generator(number, "segment")) for number in range(50)]
    assert len(set(places)) > 40
    for start, end in places:
        assert 0.4 * RATE <= end - start <= 1.2 * RATE
        assert MARGIN_SECONDS * RATE <= start and end <= len(wave) - MARGIN_SECONDS * RATE
        overlap = min(end, 2 * RATE) - max(start, RATE)
        assert overlap >= 0.78 * min(end - start, RATE)


def test_attacks_keep_the_time_of_their_source_and_the_unseen_are_for_eval():
    assert set(aligned_attacks("dev")) < set(KNOWN_ATTACKS) and not {"espeak", "piper", "hibari"} & set(aligned_attacks("eval"))
    assert set(aligned_attacks("eval")) - set(aligned_attacks("dev")) == {"neural-upsampling", "griffin-lim", "lpc-pulse"}
    wave = channel.band_limit(talk(1, seconds=2.0))
    for attack in aligned_attacks("eval"):
        made = ATTACKS[attack](Source(wave, "cs", "x"), generator(1, attack))
        envelopes = [np.sqrt(np.convolve(part**2, np.ones(320) / 320, mode="same")) for part in (wave[: len(made)], made)]
        lags = np.arange(-480, 481, 16)
        inner = slice(480, len(made) - 480)
        fits = [np.corrcoef(envelopes[0][inner], envelopes[1][480 + lag : len(made) - 480 + lag])[0, 1] for lag in lags]
        assert abs(lags[int(np.argmax(fits))]) <= 0.02 * RATE, attack


def test_what_cannot_be_made_says_why(config, tmp_path):
    with pytest.raises(SourceError, match="corpus: demo"):
        build_partial(DataConfig(corpus="asvspoof5", root=tmp_path), "eval", 1, SAMPLES)
    with pytest.raises(ValueError, match="split = 'test'"):
        build_partial(config("x"), "test", 1, SAMPLES)
    with pytest.raises(ValueError, match="samples = .*24000"):
        build_partial(config("x"), "eval", 1, 8_000)
    said: list[str] = []
    data = config("broken")
    for file in Path(data.bonafide).rglob("*.wav"):
        soundfile.write(file, np.pad(talk(1, seconds=0.8), RATE), RATE)
    with pytest.raises(SourceError, match=r"2 recordings .*1\.5 s"):
        build_partial(data, "eval", 2, SAMPLES, workers=1, say=said.append)
    assert "left out" in said[-1] and "1.5 s" in said[-1]
