"""Looking at a figure: its bytes and its texts."""

import io

import matplotlib

RATE = 16_000


def render(figure, kind="png"):
    buffer = io.BytesIO()
    stamp = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    with matplotlib.rc_context({"svg.hashsalt": "test"}):
        figure.savefig(buffer, format=kind, metadata=stamp)
    return buffer.getvalue()


def texts(artist):
    return [text.get_text() for text in artist.get_texts()]
