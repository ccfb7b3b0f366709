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
from aasist_lib.explain.overview import (
    Attended,
    agreement,
    attend,
    by_attack,
    class_difference,
    readout_parts,
    silence_attention,
)

__all__ = [
    "CURVES",
    "Attended",
    "ClipAttention",
    "ReceptiveField",
    "agreement",
    "attend",
    "band_curves",
    "band_hertz",
    "by_attack",
    "class_difference",
    "clip_attention",
    "explain_clip",
    "node_seconds",
    "readout_parts",
    "receptive_field",
    "silence_attention",
    "stack_attention",
    "time_curves",
]
