"""The sections of a profile, with the meaning and the default of every key. `load.py` reads them from YAML files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from aasist_lib.config.augmentation import AugmentationConfig, Fraction
from aasist_lib.errors import AasistError

CHANGE_NOTHING = ("workers", "bad_audio", "tracker", "cache", "evaluate_on")
"""Keys of `training` and `data` that do not affect the trained detector (skipped clips change the trial table instead)."""
_OWN_NAME = re.compile(r'^name\s*=\s*"aasist-workbook"', re.MULTILINE)
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
LayerNumber = Annotated[int, Field(ge=0)]
CorpusName = Literal[
    "demo", "asvspoof5", "asvspoof2019_la", "asvspoof2021_la", "asvspoof2021_df", "in_the_wild", "folder", "table"
]


class ConfigError(AasistError, ValueError):
    """A profile cannot be used; the message names file and key and says how to fix it."""


class Section(BaseModel):
    """Base of every section: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EvaluationCorpus(Section):
    """The corpus whose eval split replaces that of the training corpus; `root` as in `DataConfig`."""

    corpus: CorpusName
    root: Path

    @property
    def source(self) -> Path:
        """`root`; relative paths are relative to the project."""
        return project_root() / self.root


class DataConfig(Section):
    """The corpus.

    `corpus` selects the loader; `root` is the corpus's folder, or the file for 'table' (docs/corpora.md). With
    `evaluate_on` the eval split is that of another corpus: ASVspoof 2021 and In-the-Wild are test sets only.

    For the demo corpus `bonafide` is the source of bona fide recordings: 'debian' (packages), 'librispeech', or a folder
    whose sub-folders are speakers. `clips_per_speaker` limits the bona fide clips per speaker. `full` adds the demo's
    larger sources.

    Nothing is written into `root`. Features and the list of intact clips are stored in `cache`, by default
    `data/cache/<name of root>` of the project.
    """

    corpus: CorpusName = "demo"
    root: Path = Path("data/demo")
    cache: Path | None = None
    evaluate_on: EvaluationCorpus | None = None
    bonafide: str = "debian"
    full: bool = False
    clips_per_speaker: Count = 100
    seed: int = 2025

    @property
    def source(self) -> Path:
        """`root`; relative paths are relative to the project."""
        return project_root() / self.root

    @property
    def cache_folder(self) -> Path:
        """The folder for cached features of the corpus."""
        name = self.root.stem if self.corpus == "table" else self.root.name or self.source.resolve().name
        return project_root() / (self.cache or Path("data/cache") / name)


class FrontendConfig(Section):
    """The front end: waveform -> `(frames, features)`.

    `kind` is 'encoder' (a pretrained speech encoder), 'sinc' (the band-pass filters of original AASIST) or 'lfcc' (linear
    frequency cepstral coefficients); the other keys are for 'encoder'. `name` is a hub name or a local
    folder; `layer` is 'last', 'weighted' (learned sum of all layers kept), one layer's number, where 0 is the input of
    the first transformer layer, or a list of numbers (learned sum of these). `max_layer` stops the encoder early (None = run
    all); with 'weighted' the sum runs over layers 0..max_layer. `finetune` is 0 (frozen), 'all', or the number of top
    transformer layers (of those that run) to train.

    `precision` is the encoder's arithmetic wherever it runs: for a bank, in training, on dev, in scoring. `compile` uses
    `torch.compile`, which takes about a minute at the first batch and cannot be combined with `finetune`."""

    kind: Literal["encoder", "sinc", "lfcc"] = "encoder"
    name: str = "facebook/wav2vec2-xls-r-300m"
    revision: str = "main"
    layer: Literal["last", "weighted"] | LayerNumber | Annotated[tuple[LayerNumber, ...], Field(min_length=1)] = "last"
    max_layer: LayerNumber | None = None
    finetune: Literal["all"] | LayerNumber = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False

    @model_validator(mode="after")
    def _keys_fit(self) -> FrontendConfig:
        if isinstance(self.layer, tuple) and list(self.layer) != sorted(set(self.layer)):
            raise ValueError(f"layer = {list(self.layer)}: give each layer once, in rising order")
        if self.compile and self.finetune:
            raise ValueError(f"compile is for a frozen encoder: set compile: false, or finetune: 0 (it is {self.finetune})")
        return self


class ModelConfig(Section):
    """The network: the paper's switches first, then sizes, then what is ours. The defaults are the paper's published form.

    'pairwise' and 'type_pairs' are original AASIST's attention, 'max' its fusion, 'selu' its activation.
    `temperatures` divide its attention scores in the graphs and in the streams. `samples` is the crop length at 16 kHz.
    `dropout` acts on nodes, `attention_dropout` on attention, `pool_dropout` before the scores of pooling, `readout_dropout`
    before the last layer. OC-softmax needs the 'cosine' readout.

    Not in the paper, and off by default: `layer_norm` gives each frame of the encoder mean 0 and standard deviation 1 over its
    features, `normalise` each feature over a clip's frames, which removes constant speaker and channel effects;
    `members` back ends are trained on the same features, and their logits are averaged."""

    frontend: FrontendConfig = FrontendConfig()
    graph_attention: Literal["multihead", "pairwise"] = "multihead"
    heterogeneous: Literal["typed_qk", "type_pairs"] = "typed_qk"
    fusion: Literal["attention", "max"] = "attention"
    readout: Literal["linear", "cosine"] = "linear"
    samples: Count = 64_600
    projection: Count = 128
    channels: tuple[Count, Count] = (32, 64)
    blocks: Count = 6
    graph_dims: tuple[Count, Count] = (64, 32)
    heads: Count = 4
    pool_ratios: tuple[Fraction, Fraction, Fraction] = (0.5, 0.5, 0.5)
    activation: Literal["gelu", "selu"] = "gelu"
    dropout: Fraction = 0.2
    attention_dropout: Fraction = 0.2
    pool_dropout: Fraction = 0.3
    readout_dropout: Fraction = 0.5
    temperatures: tuple[Positive, Positive] = (2.0, 100.0)
    layer_norm: bool = False
    normalise: bool = False
    members: Count = 1

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelConfig:
        for dim in self.graph_dims:
            if dim % self.heads:
                raise ValueError(f"heads = {self.heads} does not divide graph_dims = {self.graph_dims}")
        if min(self.pool_ratios) == 0:
            raise ValueError("pool_ratios must be above 0: at 0 no node is kept")
        return self


class LossConfig(Section):
    """`hybrid` starts as weighted cross-entropy and moves to focal loss over `blend_epochs` epochs once the dev EER falls
    below `switch_eer` (a fraction). `class_weights` are [spoof, bona fide]. `alpha` is the focal loss's own weight for bona
    fide (spoof gets 1 - alpha) and replaces `class_weights`. 'oc_softmax' needs `model.readout: cosine`. `ranking` is the
    weight of a ranking loss that is added to any of them (0 = none). docs/losses.md has all formulas."""

    kind: Literal["ce", "focal", "hybrid", "oc_softmax"] = "hybrid"
    class_weights: tuple[Positive, Positive] = (0.1, 0.9)
    gamma: Annotated[float, Field(ge=0)] = 2.0
    alpha: Annotated[float, Field(gt=0, lt=1)] | None = None
    switch_eer: Fraction = 0.10
    blend_epochs: Count = 5
    ranking: Annotated[float, Field(ge=0)] = 0.0


class TrainingConfig(Section):
    """Optimisation with `optimiser`, whose weight decay is decoupled. The learning rate increases over `warmup_epochs` and then
    follows a cosine down to `final_rate` times its maximum; `encoder_learning_rate` is the maximum for a fine-tuned encoder.
    `clip_norm` limits the norm of the gradients (None = no limit). `patience` is the number of epochs without a better dev EER
    before training stops; `mixup` is the parameter of the Beta distribution for mixing two clips (0 = no mixup);
    `average` is the EMA decay of the weights per step (0 = no averaging); dev and the checkpoint use the averaged weights, and
    with a learning rate that stays high it averages over many solutions; `feature_cache` computes the frozen features once and
    stores them on disk as `feature_dtype`: float32 takes twice the space and equals features computed on the fly bit by bit;
    `bad_audio` says what to do with unreadable clips of train, dev or a split to be scored: 'error' lists them before the first
    step, 'skip' leaves them out; `crop_frames` cuts that many encoder frames out of a cached clip, from a random start,
    cyclically (None = all); `tracker` is an accelerate tracker or none.

    `batches` says how the clips of an epoch are drawn. 'random': each once. 'balanced': half of them bona fide, evenly over
    speakers, and half spoofs, evenly over attacks. 'pairs': next to each of these bona fide clips is a spoof of the same
    recording, or else of the same speaker, and the attacks are as even as that allows; the batch size must be even.

    `leave_out` names attacks, or families of attacks ('world' for 'world-copy' and 'world-slow'), whose clips are used neither
    for training nor for model selection."""

    epochs: Count = 20
    batch_size: Count = 32
    batches: Literal["random", "balanced", "pairs"] = "random"
    leave_out: list[str] = []
    optimiser: Literal["adamw", "nadam"] = "adamw"
    learning_rate: Positive = 1e-4
    encoder_learning_rate: Positive = 1e-6
    final_rate: Fraction = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    warmup_epochs: Annotated[float, Field(ge=0)] = 1.0
    clip_norm: Positive | None = 1.0
    mixup: Annotated[float, Field(ge=0)] = 0.0
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patience: Count = 10
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"
    workers: Annotated[int, Field(ge=0)] = 0
    feature_cache: bool = True
    feature_dtype: Literal["float16", "float32"] = "float16"
    bad_audio: Literal["error", "skip"] = "error"
    crop_frames: Count | None = None
    tracker: Literal["none", "tensorboard", "wandb"] = "none"

    @model_validator(mode="after")
    def _keys_fit(self) -> TrainingConfig:
        if self.crop_frames and not self.feature_cache:
            raise ValueError("crop_frames cuts cached features: set feature_cache: true, or remove crop_frames")
        if self.batches == "pairs" and self.batch_size % 2:
            raise ValueError(f"batches: pairs needs an even batch_size; it is {self.batch_size}")
        return self


class EvaluationConfig(Section):
    """Number of bootstrap replicates and confidence level (a fraction) of all intervals."""

    replicates: Count = 1000
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95


class AblationConfig(Section):
    """Notebook 06: every row is trained with each of `seeds`, under `settings` (overrides of the profile, e.g. fewer epochs).
    `rows` are names from `experiments.ablation.ROWS`, in the order of the table; `workers` trainings run in parallel."""

    seeds: tuple[int, ...] = (1, 2, 3)
    rows: tuple[str, ...] = ("finetuned", "frozen", "attention", "fusion", "attention_fusion", "paper", "hybrid", "rising")
    settings: tuple[str, ...] = ()
    workers: Count = 1


class Profile(Section):
    """A run. The run folder is `runs/<name>`, or `run_dir`. `notebooks` run in the given order: 02 needs the detector of 03."""

    name: str
    title: str
    seed: int = 1
    run_dir: Path | None = None
    notebooks: tuple[str, ...] = ("01", "03", "02", "04", "05", "07")
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    ablation: AblationConfig = AblationConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> Profile:
        if (self.loss.kind == "oc_softmax") != (self.model.readout == "cosine"):
            raise ValueError(
                f"loss.kind = {self.loss.kind} does not go with model.readout = {self.model.readout}: "
                "oc_softmax needs cosine, every other loss linear"
            )
        if self.model.frontend.finetune and self.training.feature_cache:
            raise ValueError("model.frontend.finetune changes the features: set training.feature_cache: false")
        return self

    def training_settings(self) -> dict[str, Any]:
        """The settings that a trained detector depends on, as JSON values: all sections except evaluation and ablation, without
        keys that do not change results."""
        dumped = self.model_dump(mode="json", include={"seed", "data", "model", "loss", "augmentation", "training"})
        for section in ("data", "training"):
            dumped[section] = {key: value for key, value in dumped[section].items() if key not in CHANGE_NOTHING}
        return dumped

    @property
    def folder(self) -> Path:
        """The profile's run folder."""
        return self.run_dir if self.run_dir is not None else Path("runs") / self.name


def project_root(start: Path | None = None) -> Path:
    """The clone of this project that contains `start` (default: the working directory), or else the clone of this package.

    Raises:
        ConfigError: neither is a clone.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[2]):
        file = folder / "pyproject.toml"
        if file.is_file() and _OWN_NAME.search(file.read_text(encoding="utf-8", errors="replace")):
            return folder
    raise ConfigError(
        f"{here} is not in a clone of this project, and the package was not installed from one (pip install -e .)"
    )
