"""Explorer of recordings: listen to them, see a detector's result, and upload files."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Sequence
from pathlib import Path

import ipywidgets
import numpy as np
from IPython.display import HTML, display
from numpy.typing import NDArray

from aasist_lib import audio, plots
from aasist_lib.explore.page import as_html, guard_uploads, is_live, player, show_widget, upload_limit
from aasist_lib.scoring import ScoringError
from aasist_lib.scoring.detector import Detector, posterior
from aasist_lib.scoring.recordings import Recording, score_recording, short_names

HEARD_SECONDS = 30.0
"""Length of the playable part of a recording. The page grows by 43 kB per second of audio."""


class RecordingExplorer:
    """Choose or upload a recording and set the prior probability of spoof; listen to it, and view its score over time.

    To display it in a notebook, make it the last line of a cell. In headless runs, the first, the middle and the last
    recording are drawn.
    """

    def __init__(self, detector: Detector, paths: Sequence[str | Path], p_spoof: float = 0.5) -> None:
        """Prepare the choices; a recording is scored when it is first shown.

        Args:
            detector: a detector from `Detector.load`, with a calibration.
            paths: audio files, at least one.
            p_spoof: the initial prior of spoof, within (0, 1).

        Raises:
            ScoringError: there is no file or no calibration, or the prior is outside (0, 1).
        """
        if not paths or detector.calibration is None:
            raise ScoringError("an explorer of recordings needs at least one file, and a detector with its calibration")
        posterior(0.0, p_spoof)
        self.detector, self.p_spoof = detector, p_spoof
        self.paths = dict(zip(short_names(list(paths)), map(Path, paths), strict=True))
        self._uploads = tempfile.TemporaryDirectory()  # deleted with this object, because uploads are private
        self._scored: dict[str, Recording] = {}

    def add(self, name: str, content: bytes) -> str:
        """Add an uploaded file to the choices and return its name there, which differs from the name of every listed file.

        A later upload with the same name replaces an earlier one.
        """
        file = Path(self._uploads.name) / Path(name).name
        file.write_bytes(content)
        shown = file.name if self.paths.get(file.name, file) == file else f"{file.name} (uploaded)"
        self._scored.pop(shown, None)
        self.paths[shown] = file
        return shown

    def recording(self, name: str) -> Recording:
        """Return the scored recording of a name.

        Raises:
            AudioError: the file cannot be read to its end.
        """
        if name not in self._scored:
            self._scored[name] = score_recording(self.detector, self.paths[name])
        return self._scored[name]

    def html(self, name: str, p_spoof: float) -> str:
        """Return the verdict, a player, and the score over time, as HTML; or the reason why the file cannot be scored."""
        try:
            found = self.recording(name)
        except audio.AudioError as error:
            reason = str(error).removeprefix(f"{self.paths[name]}: ")
            return f'<p role="alert"><b>{html.escape(name)}</b> cannot be scored: {html.escape(reason)}</p>'
        says = verdict(found, self.detector, p_spoof)
        warnings = "".join(f"<li>{html.escape(warning)}</li>" for warning in found.warnings)
        heard = _beginning(self.paths[name], HEARD_SECONDS)
        note = "" if found.seconds <= HEARD_SECONDS else f"<p>The first {HEARD_SECONDS:g} s of {found.seconds:.0f}:</p>"
        figure = plots.score_timeline(found.timeline, self.detector.threshold, found.peaks, name)
        alt = f"{name}: score of each window over time with the threshold; {says}"
        picture = as_html(figure, alt, dpi=96)
        return f"<p>{html.escape(says)}</p><ul>{warnings}</ul>{note}{player(heard)}{picture}"

    def widget(self) -> ipywidgets.VBox:
        """Return the widget: a menu, an upload button and a slider above the page.

        Tab moves between them, arrow keys change the focused one.
        """
        menu = ipywidgets.Dropdown(options=list(self.paths), description="Recording")
        upload = ipywidgets.FileUpload(accept=",".join(("audio/*", *audio.EXTENSIONS)), multiple=True, description="Upload")
        slider = ipywidgets.FloatSlider(
            self.p_spoof, min=0.01, max=0.99, step=0.01, description="Prior spoof", continuous_update=False
        )
        page = ipywidgets.HTML()

        def redraw(_: object = None) -> None:
            page.value = self.html(menu.value, slider.value)

        def take(change: dict) -> None:
            names = [self.add(file["name"], bytes(file["content"])) for file in change["new"]]
            if names:
                # Redraw exactly once, even if the same name is uploaded again, which the menu would not report as a change.
                menu.unobserve(redraw, names="value")
                menu.options, menu.value = list(self.paths), names[-1]
                menu.observe(redraw, names="value")
                redraw()

        redraw()
        upload.observe(take, names="value")
        for control in (menu, slider):
            control.observe(redraw, names="value")
        return ipywidgets.VBox([ipywidgets.HBox([menu, upload, slider]), page])

    def _ipython_display_(self) -> None:
        if is_live():
            show_widget(self.widget())
            guard_uploads(upload_limit(), "add it to PATHS, or start JupyterLab with make lab, which accepts larger files")
            return
        names = list(self.paths)
        for name in dict.fromkeys((names[0], names[len(names) // 2], names[-1])):
            display(HTML(self.html(name, self.p_spoof)))


def verdict(found: Recording, detector: Detector, p_spoof: float) -> str:
    """Return the detector's result for a recording, in a sentence.

    Raises:
        ScoringError: the detector has no calibration.
    """
    if detector.calibration is None:
        raise ScoringError("this detector has no calibration: load it without scores_only, or train it again")
    of = "" if found.channel in ("mono", "mean") else f", channel {found.channel}"
    if found.llr is None:
        return f"{found.decision}: the score ({found.score:+.2f}{of}) of such a recording has no meaning."
    decided = found.timeline[found.timeline["decision"].isin(("bonafide", "spoof"))]
    lowest = decided.loc[decided["score"].idxmin()]
    taken = {"bonafide": "bona fide", "spoof": "spoof"}[found.decision]
    bound = " (capped: dev supports no more)" if found.capped else ""
    return (
        f"score {found.score:+.2f}{of} (threshold {detector.threshold:+.2f}: taken for {taken}), "
        f"log-likelihood ratio {found.llr:+.2f}{bound}; with a prior of spoof of {p_spoof:g}, the probability of bona fide is "
        f"{float(posterior(found.llr, p_spoof)):.1%}; lowest window {lowest['score']:+.2f} at {lowest['start']:.1f} s."
    )


def _beginning(path: Path, seconds: float) -> NDArray[np.float32]:
    """Return the first seconds of a file, without reading the rest."""
    wanted, held = round(seconds * audio.RATE), []
    for block in audio.blocks(path):
        held.append(block)
        if sum(map(len, held)) >= wanted:
            break
    return np.concatenate(held)[:wanted]
