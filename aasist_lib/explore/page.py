"""What explorers put on a page: figures with alt text, players, and whether anybody is there to move anything."""

from __future__ import annotations

import base64
import html
import io
import json
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


_GUARD = """setTimeout(() => {
    const note = element, limit = %d, advice = %s;
    element.closest('.jp-OutputArea')?.addEventListener('click', event => {
        if (!event.target.closest('.widget-upload')) return;
        note.textContent = '';
        window.aasistUpload = {limit, refuse: file => {
            const said = document.createElement('p');
            said.setAttribute('role', 'alert');
            const size = Math.ceil(file.size / 1e6);
            said.textContent = `${file.name} was not uploaded: it has ${size} MB, this server takes ${Math.floor(limit / 1e6)};
            ${advice}`; note.replaceChildren(said);
        }};
    }, true);
    if (window.aasistRead) return;
    window.aasistRead = FileReader.prototype.readAsArrayBuffer;
    FileReader.prototype.readAsArrayBuffer = function (file) {
        const guard = window.aasistUpload;
        if (!guard || !(file instanceof File) || file.size <= guard.limit) return window.aasistRead.call(this, file);
        guard.refuse(file);
    };
});"""
"""A message that is larger than the server takes closes the notebook's connection without a word, so the page looks first."""
_TORNADO_MB = 10
"""What a JupyterLab takes that was not told otherwise."""


def upload_limit() -> int:
    """Bytes that an uploaded file may have: `make lab` says how many megabytes its server takes, in `AASIST_UPLOAD_MB`."""
    return int(0.99e6 * float(os.environ.get("AASIST_UPLOAD_MB", _TORNADO_MB)))


def guard_uploads(limit: int, advice: str) -> None:
    """Have the upload buttons of the widget displayed above refuse what the server would not take, and say so.

    Args:
        limit: bytes.
        advice: what to do instead.
    """
    display(Javascript(_GUARD % (limit, json.dumps(advice))))


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
