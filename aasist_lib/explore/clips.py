"""Explorer of a corpus: pick a clip by split, attack, score or error, listen to it, and view a map over it."""

from __future__ import annotations

import html

import ipywidgets
import numpy as np
import pandas as pd
from IPython.display import HTML, display

from aasist_lib import audio, plots
from aasist_lib.explain.attribution import FRAME_SECONDS, MAPS, SIGNED, UNITS, frame_maps
from aasist_lib.explore.page import as_html, is_live, player, show_widget
from aasist_lib.models import AASIST

ORDERS = ("error, worst first", "score, most spoof first", "score, most bona fide first")
CLASSES = {"bonafide": "bona fide", "spoof": "spoof"}
COLUMNS = ("utt_id", "path", "label", "attack", "split", "score")


class ClipExplorer:
    """Show a chosen clip with a chosen map: player, waveform, spectrogram, the map over both, and the score with the threshold.

    To display it in a notebook, make it the last line of a cell. Tab moves between the controls, arrow keys change the focused
    one. In headless runs, three clips of the first split are drawn: the first, middle and last in the order of error, worst
    first.
    """

    def __init__(self, model: AASIST, scores: pd.DataFrame, threshold: float, first: str = "nodes") -> None:
        """Prepare the choices.

        Args:
            model: a trained detector.
            scores: score tables of one or more splits, with columns `utt_id, path, label, attack, split, score`.
            threshold: the decision threshold from dev; a score at or below it means spoof.
            first: the map shown at first, a name from `explain.MAPS`.

        Raises:
            ValueError: a column is missing, the table is empty, or the map is unknown.
        """
        missing = [name for name in COLUMNS if name not in scores]
        if missing or scores.empty:
            raise ValueError(
                f"the scores have {len(scores)} rows and lack {', '.join(missing) or 'no column'}: nothing to show"
            )
        if first not in MAPS:
            raise ValueError(f"unknown map '{first}'; choose from {', '.join(MAPS)}")
        towards_wrong = np.where(scores["label"] == "spoof", 1, -1)
        self.model, self.threshold, self.first = model, threshold, first
        self.scores = scores.assign(error=towards_wrong * (scores["score"] - threshold))

    def select(self, split: str, show: str = "all", order: str = ORDERS[0]) -> pd.DataFrame:
        """Return the clips of a split, sorted.

        Args:
            split: a split in the table.
            show: 'all', 'bona fide', 'spoof', or the name of an attack.
            order: an entry of `ORDERS`. The error is the distance of the score from the threshold, positive on the wrong side.
        """
        table = self.scores[self.scores["split"] == split]
        if show in CLASSES.values():
            table = table[table["label"].map(CLASSES) == show]
        elif show != "all":
            table = table[table["attack"] == show]
        column = "error" if order == ORDERS[0] else "score"
        return table.sort_values([column, "utt_id"], ascending=[order == ORDERS[1], True], ignore_index=True)

    def shown(self, split: str) -> list[str]:
        """Return the values of `show` that `select` accepts for a split."""
        table = self.scores[self.scores["split"] == split]
        attacks = sorted(set(table["attack"]) - {"-"})
        return ["all", *(name for label, name in CLASSES.items() if (table["label"] == label).any()), *attacks]

    def verdict(self, clip: pd.Series) -> str:
        """Return a sentence that compares the score with the threshold."""
        truth = CLASSES[clip["label"]] + (f" ({clip['attack']})" if clip["attack"] != "-" else "")
        called = "bona fide" if clip["score"] > self.threshold else "spoof"
        right = "rightly" if called == CLASSES[clip["label"]] else "wrongly"
        return f"{truth}; score {clip['score']:+.2f}, threshold {self.threshold:+.2f}: called {called}, {right}"

    def page(self, clip: pd.Series, name: str) -> str:
        """Return verdict, player and figure of a clip under one map, as HTML."""
        wave = audio.fit(audio.read(clip["path"]), self.model.config.samples)
        values = frame_maps(self.model, wave[None], [name])[name][0]
        seconds = np.minimum(np.arange(len(values) + 1) * FRAME_SECONDS, len(wave) / audio.RATE)
        says, title = self.verdict(clip), f"{clip['utt_id']}: {name.replace('_', ' ')}"
        figure = plots.map_over_clip(wave, audio.RATE, seconds, values, UNITS[name], name in SIGNED, title)
        alt = f"{clip['utt_id']}, {says}. Waveform and spectrogram under the map {name}: {MAPS[name]}."
        lines = (f"<b>{html.escape(says)}</b>", f"{html.escape(name.replace('_', ' '))}: {html.escape(MAPS[name])}")
        return f"<p>{'<br>'.join(lines)}</p>{player(wave)}<br>{as_html(figure, alt, dpi=96)}"

    def widget(self) -> ipywidgets.VBox:
        """Return the widget: menus and a slider above the page."""
        splits = list(dict.fromkeys(self.scores["split"]))
        split = ipywidgets.Dropdown(options=splits, description="Split")
        show = ipywidgets.Dropdown(options=self.shown(splits[0]), description="Show")
        order = ipywidgets.Dropdown(options=ORDERS, description="Order")
        names = [(name.replace("_", " "), name) for name in MAPS]
        name = ipywidgets.Dropdown(options=names, value=self.first, description="Map")
        wide = ipywidgets.Layout(width="40em")
        number = ipywidgets.IntSlider(1, 1, 1, description="Clip", continuous_update=False, layout=wide)
        count, page = ipywidgets.Label(), ipywidgets.HTML()

        def redraw(_: object = None) -> None:
            table = self.select(split.value, show.value, order.value)
            page.value = self.page(table.iloc[number.value - 1], name.value)

        def restart(_: object = None) -> None:
            number.unobserve(redraw, names="value")
            number.max = len(self.select(split.value, show.value, order.value))
            number.value, count.value = 1, f"of {number.max}"
            number.observe(redraw, names="value")
            redraw()

        def other_split(_: object) -> None:
            show.unobserve(restart, names="value")
            kept, show.options = show.value, self.shown(split.value)
            show.value = kept if kept in show.options else "all"
            show.observe(restart, names="value")
            restart()

        split.observe(other_split, names="value")
        for control in (show, order):
            control.observe(restart, names="value")
        name.observe(redraw, names="value")
        restart()
        menus = ipywidgets.HBox([split, show, order]), ipywidgets.HBox([name, number, count])
        return ipywidgets.VBox([*menus, page])

    def _ipython_display_(self) -> None:
        if is_live():
            show_widget(self.widget())
            return
        table = self.select(self.scores["split"].iloc[0])
        for place in (0, len(table) // 2, len(table) - 1):
            display(HTML(self.page(table.iloc[place], self.first)))
