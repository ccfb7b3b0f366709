"""What explorers put on a page: figures with alt text, players, and whether anybody is there to move anything."""

from __future__ import annotations

import base64
import html
import io
import os

import ipywidgets
import numpy as np
import soundfile
from IPython.display import Javascript, display
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aasist_lib.audio import RATE

_KEEP_KEYS = """setTimeout(() => {  // the script runs before its output is part of the page
    element.closest('.jp-OutputArea')?.addEventListener('keydown', event => {
        if (!(event.ctrlKey || event.metaKey || event.altKey || event.shiftKey)) event.stopPropagation();
    });
});"""


def is_live() -> bool:
    """Whether widgets make sense: not where `AASIST_HEADLESS=1`, which the runner sets."""
    return os.environ.get("AASIST_HEADLESS") != "1"


def show_widget(widget: ipywidgets.Widget) -> None:
    """Display a widget that keeps its plain keys.

    Otherwise JupyterLab takes those of a menu that has the focus for its commands: Arrow Down leaves the cell, x cuts it.
    """
    display(widget)
    display(Javascript(_KEEP_KEYS))


def player(wave: NDArray[np.float32]) -> str:
    """A player of the wave as it is, losslessly; what leaves full scale is clipped, as a sound card would."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(wave, -1, 1), RATE, format="FLAC", subtype="PCM_16")
    source = f"data:audio/flac;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return f'<audio controls style="max-width:100%" src="{source}"></audio>'


def as_html(figure: Figure, alt: str, dpi: int = 110) -> str:
    """A figure as an image of a page, with its alt text."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    source = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    width = round(figure.get_figwidth() * 96)
    return f'<img src="{source}" alt="{html.escape(alt)}" style="width:{width}px;max-width:100%;height:auto">'
