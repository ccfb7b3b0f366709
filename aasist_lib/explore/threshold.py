"""Explorer of the decision threshold, over score histograms."""

from __future__ import annotations

import ipywidgets
import numpy as np
import pandas as pd
from IPython.display import HTML, display
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aasist_lib import plots
from aasist_lib.explore.page import as_html, is_live, show_widget
from aasist_lib.metrics import det_curve, split_classes
from aasist_lib.metrics.rates import eer_point

STEPS = 50


class ThresholdExplorer:
    """Move the threshold over the score histograms, and view both error rates and the operating point on the DET curve.

    To display it in a notebook, make it the last line of a cell. `thresholds (2 * STEPS + 1,)` are the choices: from the lowest
    score, where nearly all clips are accepted, to the highest, where all are rejected; the EER threshold is in the middle.
    """

    def __init__(self, scores: pd.DataFrame, title: str = "Scores and a threshold") -> None:
        """Prepare the choices.

        Args:
            scores: columns `score` and `label` ('bonafide' | 'spoof').

        Raises:
            MetricError: a class is missing, or a score is NaN or infinite.
        """
        self.scores, self.title = scores, title
        _, middle = eer_point(det_curve(*split_classes(scores["label"], scores["score"])))
        low, high = scores["score"].min(), scores["score"].max()
        above = np.linspace(middle, high, STEPS + 1)[1:]
        self.thresholds: NDArray[np.float64] = np.concatenate((np.linspace(low, middle, STEPS + 1), above))

    def figure(self, choice: int) -> Figure:
        """Return the figure for the threshold at an index of `thresholds`."""
        return plots.threshold_view(self.scores, float(self.thresholds[choice]), self.title)

    def alt(self, choice: int) -> str:
        """Return the alt text of the figure: what it shows, in a sentence."""
        threshold, is_bonafide = self.thresholds[choice], self.scores["label"] == "bonafide"
        rejected = self.scores["score"] <= threshold
        return (
            f"{self.title}: at the threshold {threshold:.2f}, {rejected[is_bonafide].mean():.1%} of bona fide clips are "
            f"rejected and {1 - rejected[~is_bonafide].mean():.1%} of spoofed clips accepted."
        )

    def widget(self) -> ipywidgets.VBox:
        """Return the widget: a slider above the figure, starting at the EER threshold."""
        options = [(f"{threshold:.2f}", choice) for choice, threshold in enumerate(self.thresholds)]
        slider = ipywidgets.SelectionSlider(
            options=options, value=STEPS, description="Threshold", continuous_update=False,
            layout=ipywidgets.Layout(width="36em"),
        )  # fmt: skip
        picture = ipywidgets.HTML(self._image(STEPS))
        slider.observe(lambda change: setattr(picture, "value", self._image(change["new"])), names="value")
        return ipywidgets.VBox([slider, picture])

    def _ipython_display_(self) -> None:
        if is_live():
            show_widget(self.widget())
            return
        for choice in (0, STEPS, 2 * STEPS):
            display(HTML(self._image(choice)))

    def _image(self, choice: int) -> str:
        return as_html(self.figure(choice), self.alt(choice))
