"""Listen to and view distortions: one distortion at several strengths, or a chain of distortions."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import ipywidgets
import numpy as np
from IPython.display import HTML, display
from numpy.typing import NDArray

from aasist_lib import plots
from aasist_lib.audio import RATE
from aasist_lib.augment import build
from aasist_lib.augment.base import record
from aasist_lib.config.augmentation import Item
from aasist_lib.experiments.robustness import distort, score_waves
from aasist_lib.explore.page import as_html, is_live, player, show_widget
from aasist_lib.models import AASIST

CHAIN = 3
"""Largest number of distortions in a chain of the playground."""


def distortion_tour(
    clip: NDArray[np.float32], item: Item, intensities: Sequence[float], utt_id: str, others: Sequence[str] = ()
) -> HTML:
    """Show a distortion at several strengths: waveforms, changes of the spectrogram, and players.

    Args:
        clip: `(samples,)` at 16 kHz.
        item: an item of a profile's `distortions`, or of `distortions.catalogue`.
        intensities: 0 = the mild end of the item's ranges, 1 = the hard end.
        utt_id: seeds the random choices.
        others: audio files of other clips, for babble.
    """
    name = item.kind.replace("_", " ")
    transforms = [build(item.kind, item.exactly(intensity), 1.0, others) for intensity in intensities]
    waves = [distort(clip, transform, utt_id) for transform in transforms]
    titles = [
        f"intensity {intensity:g}\n{_settings(record(transform))}"
        for intensity, transform in zip(intensities, transforms, strict=True)
    ]
    alt = f"{name}: waveform of a clip, and at {'; '.join(titles)} its waveform and the change of its spectrogram."
    figure = plots.distortion_steps(clip, waves, titles, RATE, name)
    heard = zip(("clip", *(f"intensity {intensity:g}" for intensity in intensities)), (clip, *waves), strict=True)
    cell = '<span style="display:inline-block;width:24%">{}<br>{}</span>'
    players = "".join(cell.format(title, player(wave)) for title, wave in heard)
    return HTML(f"{as_html(figure, alt, dpi=72)}<p>{players}</p>")


class AugmentationPlayground:
    """Pick a clip and a chain of distortions, change their strengths, and listen to, view and score the result.

    To display it in a notebook, make it the last line of a cell. In headless runs, three choices are drawn: the first clip
    through the first distortion, the middle clip through the first and the middle distortion, and the last clip through the
    last distortion.
    """

    def __init__(
        self, model: AASIST, clips: Mapping[str, NDArray[np.float32]], items: Sequence[Item], others: Sequence[str] = ()
    ) -> None:
        """Prepare the choices.

        Args:
            model: a trained detector, in eval mode.
            clips: name -> waveform `(samples,)` at 16 kHz, with the detector's input length.
            items: the available distortions, as in a profile. Strength 0 is the mild end of an item's ranges, 1 the hard.
            others: audio files of other clips, for babble.
        """
        self.model, self.clips, self.others = model, clips, others
        self.items = {item.kind: item for item in items}
        self.clean = {name: float(score_waves(model, wave[None])[0]) for name, wave in clips.items()}

    def make(self, clip: str, chain: Sequence[tuple[str, float]], draw: int = 0) -> tuple[NDArray[np.float32], float]:
        """Return the clip after the chain of (kind, strength), and its score; another `draw` gives other random choices."""
        wave = self.clips[clip]
        for place, (kind, strength) in enumerate(chain):
            transform = build(kind, self.items[kind].exactly(strength), 1.0, self.others)
            wave = distort(wave, transform, f"{clip}/{place}", draw)
        return wave, float(score_waves(self.model, wave[None])[0])

    def html(self, clip: str, chain: Sequence[tuple[str, float]], draw: int = 0) -> str:
        """Return the figure, a player, and the two scores, as HTML."""
        wave, score = self.make(clip, chain, draw)
        steps = ", ".join(f"{kind.replace('_', ' ')} {strength:.1f}" for kind, strength in chain) or "nothing"
        move = f"score {self.clean[clip]:+.2f} before, {score:+.2f} after {steps}"
        figure = plots.distortion_steps(self.clips[clip], [wave], [steps], RATE, clip)
        alt = f"{clip}: waveform before and after {steps}, and the change of its spectrogram; {move}."
        return f"<p>{html.escape(move)}</p>{player(wave)}{as_html(figure, alt, dpi=96)}"

    def widget(self) -> ipywidgets.VBox:
        """Return the widget: menus and sliders above the figure. Tab moves between them, arrow keys change the focused one."""
        clip = ipywidgets.Dropdown(options=list(self.clips), description="Clip")
        draw = ipywidgets.IntSlider(0, 0, 20, description="Draw", continuous_update=False)
        # The empty option is "": a menu that returns to an option with the value None goes blank and ignores a key press.
        kinds = [("–", ""), *((kind.replace("_", " "), kind) for kind in self.items)]
        names = [ipywidgets.Dropdown(options=kinds, description=f"Step {number + 1}") for number in range(CHAIN)]
        sliders = [ipywidgets.FloatSlider(1.0, min=0.0, max=1.8, step=0.1, description="Strength", continuous_update=False)
                   for _ in range(CHAIN)]  # fmt: skip
        page = ipywidgets.HTML()

        def redraw(_: object = None) -> None:
            chain = [(name.value, slider.value) for name, slider in zip(names, sliders, strict=True) if name.value]
            page.value = self.html(clip.value, chain, draw.value)

        names[0].value = next(iter(self.items))
        redraw()
        for control in (clip, draw, *names, *sliders):
            control.observe(redraw, names="value")
        steps = [ipywidgets.HBox(pair) for pair in zip(names, sliders, strict=True)]
        return ipywidgets.VBox([ipywidgets.HBox([clip, draw]), *steps, page])

    def _ipython_display_(self) -> None:
        if is_live():
            show_widget(self.widget())
            return
        clips, kinds = list(self.clips), list(self.items)
        middle = kinds[len(kinds) // 2]
        chains = ([(kinds[0], 0.5)], [(kinds[0], 1.0), (middle, 1.0)], [(kinds[-1], 1.8)])
        for clip, chain in zip((clips[0], clips[len(clips) // 2], clips[-1]), chains, strict=True):
            display(HTML(self.html(clip, chain)))


def _settings(parameters: Mapping[str, object]) -> str:
    """Return the first two drawn numbers or names, one per line, short enough for a panel title."""
    plain = {
        name.removeprefix("wanted_").replace("_", " "): value if isinstance(value, str) else format(value, ".4g")
        for name, value in parameters.items()
        if isinstance(value, (int, float, str)) and "seed" not in name
    }
    shown = [f"{name} {value}" for name, value in plain.items()]
    return "\n".join(shown[:2])
