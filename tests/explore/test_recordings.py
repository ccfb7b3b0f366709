"""The explorer of recordings: choose, upload, move the prior."""

import io
import re
from datetime import datetime

import numpy as np
import pytest
import soundfile

from aasist_lib.explore import RecordingExplorer
from aasist_lib.explore.recordings import HEARD_SECONDS, verdict
from aasist_lib.metrics import Calibration
from aasist_lib.models import build_model
from aasist_lib.scoring import ScoringError
from aasist_lib.scoring.detector import Detector


@pytest.fixture
def detector(tiny_profile):
    """Untrained, with a calibration: enough to see numbers move."""
    facts = {"encoder": {"name": "toy"}, "dev_eer": 0.1, "calibration": {"bonafide": 9, "spoof": 9}}
    return Detector(build_model(tiny_profile.model).eval(), 0.0, Calibration(2.0, 0.5), facts)


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("one", "two", "three"):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * rng.standard_normal(20_000), 16_000)
    (tmp_path / "broken.wav").write_bytes((tmp_path / "one.wav").read_bytes()[:9000])
    return [tmp_path / f"{name}.wav" for name in ("one", "two", "broken", "three")]


def content(seconds):
    memory = io.BytesIO()
    soundfile.write(memory, 0.1 * np.random.default_rng(1).standard_normal(round(16_000 * seconds)), 16_000, format="FLAC")
    return memory.getvalue()


def uploaded(name, seconds=1.5):
    return {
        "name": name,
        "type": "audio/flac",
        "size": 1,
        "content": memoryview(content(seconds)),
        "last_modified": datetime.now(),
    }


def test_the_page_has_numbers_player_curve_and_alt_text(detector, paths):
    explorer = RecordingExplorer(detector, paths, 0.2)
    page = explorer.html("two.wav", 0.2)
    found = explorer.recording("two.wav")
    assert verdict(found, detector, 0.2) in page and f"score {found.score:+.2f}" in page
    odds = np.exp(2 * found.score + 0.5) * 4
    assert f"the probability of bona fide is {odds / (1 + odds):.1%}" in page
    assert page.count("<audio controls") == 1 and page.count("<img ") == 1 and 'alt="two.wav: score of each window' in page


def test_menu_and_slider_redraw_the_page_and_a_recording_is_scored_once(detector, paths, monkeypatch):
    calls, judge = [], Detector.judge
    monkeypatch.setattr(Detector, "judge", lambda self, waves: calls.append(1) or judge(self, waves))
    explorer = RecordingExplorer(detector, paths)
    top, page = explorer.widget().children
    menu, _, slider = top.children
    seen = [page.value]
    menu.value = "three.wav"
    assert "three.wav" in page.value and page.value not in seen
    seen.append(page.value)
    slider.value = 0.9
    assert "prior of spoof of 0.9" in page.value and page.value not in seen
    assert len(calls) == 2, "the first and the third recording, once each"
    menu.value = "broken.wav"
    assert "cannot be scored: cut off" in page.value and 'role="alert"' in page.value


def test_an_upload_is_chosen_and_scored_and_a_name_leads_nowhere(detector, paths):
    explorer = RecordingExplorer(detector, paths)
    top, page = explorer.widget().children
    menu, upload, _ = top.children
    assert "audio/*" in upload.accept and ".m4a" in upload.accept
    upload.value = (uploaded("../../mine.flac"), uploaded("more <b>.flac"))
    assert menu.value == "more <b>.flac" and "mine.flac" in menu.options and "more &lt;b&gt;.flac: score" in page.value
    assert not (paths[0].parent.parent / "mine.flac").exists()
    first = explorer.recording("mine.flac").seconds
    explorer.add("mine.flac", content(3))
    assert (first, explorer.recording("mine.flac").seconds) == (1.5, 3.0), "a later upload takes the place of an earlier one"
    upload.value = ({**uploaded("text.wav"), "content": memoryview(b"no sound")},)
    assert "text.wav</b> cannot be scored" in page.value


def test_of_a_long_recording_the_beginning_can_be_heard(detector, tmp_path):
    soundfile.write(tmp_path / "long.wav", np.zeros(int(16_000 * (HEARD_SECONDS + 5))), 16_000)
    page = RecordingExplorer(detector, [tmp_path / "long.wav"]).html("long.wav", 0.5)
    assert "The first 30 s of 35:" in page and "<li>almost no speech" in page


def test_headless_the_first_middle_and_last_recording_are_drawn(detector, paths, shown, monkeypatch):
    explorer = RecordingExplorer(detector, paths)
    monkeypatch.setenv("AASIST_HEADLESS", "1")
    explorer._ipython_display_()
    assert ["one.wav" in shown[0].data, "broken.wav" in shown[1].data, "three.wav" in shown[2].data] == [True] * 3
    shown.clear()
    monkeypatch.delenv("AASIST_HEADLESS")
    explorer._ipython_display_()
    assert len(shown[0].children) == 2


def test_what_it_needs_is_said(detector, paths):
    with pytest.raises(ScoringError, match="one file"):
        RecordingExplorer(detector, [])
    with pytest.raises(ScoringError, match="calibration"):
        RecordingExplorer(Detector(detector.model, 0.0, None, {}), paths)
    with pytest.raises(ScoringError, match="spoof = "):
        RecordingExplorer(detector, paths, 1.0)


def test_silence_is_undecided_and_what_is_capped_says_so(detector, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(30_000), 16_000)
    soundfile.write(tmp_path / "noise.wav", 0.1 * np.random.default_rng(0).standard_normal(30_000), 16_000)
    sure = Detector(detector.model, 0.0, Calibration(1e6, 0.0, 2.2, True), detector.facts)
    explorer = RecordingExplorer(sure, [tmp_path / "silence.wav", tmp_path / "noise.wav"], 0.5)
    page = explorer.html("silence.wav", 0.5)
    assert "undecided: no speech" in page and "has no meaning" in page and "probability" not in page
    page = explorer.html("noise.wav", 0.5)
    assert re.search(r"log-likelihood ratio [+-]2\.20 \(capped: dev supports no more\)", page)
    assert re.search(r"probability of bona fide is (90\.0|10\.0)%", page)


def test_two_files_of_one_name_are_two_choices_and_an_upload_of_that_name_is_a_third(detector, tmp_path):
    rng, paths = np.random.default_rng(0), []
    for side in ("left", "right"):
        (tmp_path / side).mkdir()
        paths.append(tmp_path / side / "a.wav")
        soundfile.write(paths[-1], 0.1 * rng.standard_normal(20_000), 16_000)
    explorer = RecordingExplorer(detector, paths, 0.5)
    assert list(explorer.paths) == ["left/a.wav", "right/a.wav"]
    assert explorer.recording("left/a.wav").score != explorer.recording("right/a.wav").score
    assert explorer.add("a.wav", content(1.0)) == "a.wav"
    single = RecordingExplorer(detector, paths[:1], 0.5)
    assert single.add("a.wav", content(1.0)) == "a.wav (uploaded)" == single.add("a.wav", content(2.0))
    assert single.recording("a.wav").seconds == 1.25 and single.recording("a.wav (uploaded)").seconds == 2
