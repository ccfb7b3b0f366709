"""Figures: functions that take tables and arrays and return a matplotlib Figure, which is not registered with pyplot.

Bona fide is blue and solid, spoof is orange and dashed or hatched, so figures can be read without colour. Rates are passed as
fractions and drawn in percent. Equal input gives byte-identical figures.
"""

from .ablation import ablation_figure
from .attention import attention_over_clip, contributions, graph_maps, map_over_clip, stream_maps
from .attention_sets import attention_by_attack, class_difference, silence_attention, two_systems
from .breakdown import breakdown_heatmap, eer_by_attack
from .corpus import corpus_overview, leak_audit
from .det import det
from .diagram import model_diagram
from .distortions import codec_rates, distortion_steps, score_shift_map
from .faithfulness import deletion_insertion, localisation, partial_clip
from .layers import layer_eer_figure
from .losses import loss_gradients
from .scores import calibration, score_histograms, threshold_view
from .spectrograms import spectrogram_pair
from .style import PlotError
from .systems import comparison, dcf_over_priors
from .timeline import score_timeline
from .training import training_history

__all__ = [
    "PlotError",
    "ablation_figure",
    "attention_by_attack",
    "attention_over_clip",
    "breakdown_heatmap",
    "calibration",
    "class_difference",
    "codec_rates",
    "comparison",
    "contributions",
    "corpus_overview",
    "dcf_over_priors",
    "deletion_insertion",
    "det",
    "distortion_steps",
    "eer_by_attack",
    "graph_maps",
    "layer_eer_figure",
    "leak_audit",
    "localisation",
    "loss_gradients",
    "map_over_clip",
    "model_diagram",
    "partial_clip",
    "score_histograms",
    "score_shift_map",
    "score_timeline",
    "silence_attention",
    "spectrogram_pair",
    "stream_maps",
    "threshold_view",
    "training_history",
    "two_systems",
]
