"""What the detector looks at, in seconds and feature bands, and whether such maps can be believed."""

from aasist_lib.explain.attention import (
    CURVES,
    ClipAttention,
    ReceptiveField,
    band_curves,
    band_hertz,
    clip_attention,
    explain_clip,
    node_seconds,
    receptive_field,
    stack_attention,
    time_curves,
)

__all__ = [
    "CURVES",
    "ClipAttention",
    "ReceptiveField",
    "band_curves",
    "band_hertz",
    "clip_attention",
    "explain_clip",
    "node_seconds",
    "receptive_field",
    "stack_attention",
    "time_curves",
]
