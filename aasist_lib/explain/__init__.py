"""What the detector looks at, in seconds and feature bands, and whether such maps can be believed."""

from aasist_lib.explain.attention import ClipAttention, clip_attention, explain_clip, stack_attention

__all__ = ["ClipAttention", "clip_attention", "explain_clip", "stack_attention"]
