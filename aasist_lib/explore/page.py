"""Page elements of the explorers: figures with alt text, players, upload limits, and the check for headless runs."""

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
            said.textContent = `${file.name} was not uploaded: it has ${size} MB, the limit is ${Math.floor(limit / 1e6)} MB;
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
"""Script that checks the file size before an upload. A message above the server's limit closes the connection silently."""
_TORNADO_MB = 10
"""JupyterLab's default limit for a message, in MB."""


def upload_limit() -> int:
    """Return the largest size of an uploaded file in bytes. `make lab` passes its server's limit in `AASIST_UPLOAD_MB`."""
    return int(0.99e6 * float(os.environ.get("AASIST_UPLOAD_MB", _TORNADO_MB)))


def guard_uploads(limit: int, advice: str) -> None:
    """Make the upload buttons of the widget displayed above reject files above the server's limit, with a message.

    Args:
        limit: largest file size in bytes.
        advice: what to do instead, shown in the message.
    """
    display(Javascript(_GUARD % (limit, json.dumps(advice))))


def is_live() -> bool:
    """Return whether to show widgets: not if `AASIST_HEADLESS=1`, which the notebook runner sets."""
    return os.environ.get("AASIST_HEADLESS") != "1"


def show_widget(widget: ipywidgets.Widget) -> None:
    """Display a widget that handles unmodified keys itself.

    Otherwise JupyterLab interprets keys pressed in a focused menu as its own commands: Arrow Down leaves the cell, x cuts it.
    """
    display(widget)
    display(Javascript(_KEEP_KEYS))


def player(wave: NDArray[np.float32]) -> str:
    """Return a lossless audio player for the wave as HTML; samples beyond full scale are clipped, as by a sound card."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(wave, -1, 1), RATE, format="FLAC", subtype="PCM_16")
    source = f"data:audio/flac;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return f'<audio controls style="max-width:100%" src="{source}"></audio>'


def as_html(figure: Figure, alt: str, dpi: int = 110) -> str:
    """Return a figure as an HTML image with alt text."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    source = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    width = round(figure.get_figwidth() * 96)
    return f'<img src="{source}" alt="{html.escape(alt)}" style="width:{width}px;max-width:100%;height:auto">'
