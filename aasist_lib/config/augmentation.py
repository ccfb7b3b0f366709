"""The `augmentation` section of a profile: the distortions, their probability and strength, and the schedule of both.

Every range is `[mild, hard]`. At intensity 1 a value is drawn between the two; at intensity i the hard end is i times as far
from the mild end, up to the distortion's `limits`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Range = tuple[float, float]


class Item(BaseModel):
    """One distortion of the list. It is applied with `p` times the schedule's probability.

    `always` keeps it out of the schedule: it is applied with the probability `p`, at intensity 1. `scaling` says what the
    intensity does to its ranges: it moves the hard end away from the mild one ('hard'), divides both ends ('divide', as some
    ranges of the paper's code), or nothing ('none').
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    limits: ClassVar[dict[str, Range]] = {}
    if TYPE_CHECKING:  # every distortion states its own
        kind: str
    p: Fraction = 1.0
    always: bool = False
    scaling: Literal["hard", "divide", "none"] = "hard"

    @model_validator(mode="after")
    def _within_limits(self) -> Item:
        for name, (low, high) in self.limits.items():
            values = getattr(self, name)
            if values is not None and not (low <= min(values) and max(values) <= high):
                raise ValueError(f"{name} = {list(values)}: must be within [{low:g}, {high:g}]")
        return self

    def at(self, intensity: float) -> dict[str, Any]:
        """The transform's arguments at this intensity, without `p`."""
        arguments = self.model_dump(exclude={"kind", "p", "always", "scaling"})
        for name, (low, high) in self.limits.items():
            if arguments[name] is not None:
                mild, hard = arguments[name]
                if self.scaling == "divide":
                    mild, hard = max(min(mild / intensity, high), low), hard / intensity
                elif self.scaling == "hard":
                    hard = mild + intensity * (hard - mild)
                arguments[name] = (mild, min(max(hard, low), high))
        return arguments

    def exactly(self, intensity: float) -> dict[str, Any]:
        """As `at`, with each range reduced to its hard end: 0 gives the mild end of the profile's range, 1 the hard end."""
        arguments = self.at(intensity)
        return arguments | {name: (arguments[name][1],) * 2 for name in self.limits if arguments[name] is not None}


class Codec(Item):
    """One codec of `codecs`, at the allowed bitrate nearest to a draw from `kbps` (kbit/s), at its sampling rate nearest to 16
    kHz."""

    limits = {"kbps": (4.0, 320.0)}
    kind: Literal["codec"]
    codecs: tuple[str, ...] = ("mp3", "aac", "opus")
    kbps: Range = (64.0, 16.0)


class CodecChain(Codec):
    """Two codecs one after the other, each drawn as by `codec`."""

    kind: Literal["codec_chain"]  # type: ignore[assignment]


class Telephone(Item):
    """300 to 3400 Hz at 8 kHz, then one of `codecs`, at the allowed bitrate nearest to a draw from `kbps` (kbit/s)."""

    limits = {"kbps": (4.0, 64.0)}
    kind: Literal["telephone"]
    codecs: tuple[str, ...] = ("a-law", "mu-law", "amr-nb")
    kbps: Range = (12.2, 4.75)


class QuantisedTelephone(Item):
    """The paper's telephone: quantised to 7 bits, limited to 300 to 3400 Hz, with coloured noise; SNR in dB."""

    limits = {"snr_db": (-10.0, 90.0)}
    kind: Literal["quantised_telephone"]
    snr_db: Range = (20.0, 10.0)


class PacketLoss(Item):
    """Lost frames of 20 ms: `loss` is a fraction, `burst` the mean number of frames lost in a row."""

    limits = {"loss": (0.0, 0.5)}
    kind: Literal["packet_loss"]
    loss: Range = (0.01, 0.1)
    burst: Annotated[float, Field(ge=1)] = 2.0


class Noise(Item):
    """Gaussian noise of one of `colours`; SNR in dB."""

    limits = {"snr_db": (-10.0, 90.0)}
    kind: Literal["noise"]
    snr_db: Range = (40.0, 10.0)
    colours: tuple[Literal["white", "pink", "brown", "blue", "violet"], ...] = ("white", "pink", "brown", "blue", "violet")


class Background(Item):
    """Recorded noise from a folder, in MUSAN's layout or any other; `kinds` selects sub-folders, none = all."""

    limits = {"snr_db": (-10.0, 90.0)}
    kind: Literal["background"]
    folder: Path
    kinds: tuple[str, ...] = ()
    snr_db: Range = (30.0, 10.0)


class Babble(Item):
    """The sum of `talkers` other clips of the same split."""

    limits = {"snr_db": (-10.0, 90.0)}
    kind: Literal["babble"]
    talkers: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (3, 7)
    snr_db: Range = (30.0, 10.0)


class Reverberation(Item):
    """Simulated rooms of a reverberation time (RT60), or impulse responses of a folder; `wet` scales what follows the direct
    sound."""

    limits = {"rt60_seconds": (0.1, 1.5), "wet": (0.0, 1.0)}
    kind: Literal["reverberation"]
    rt60_seconds: Range = (0.15, 0.6)
    wet: Range = (0.5, 1.0)
    folder: Path | None = None


class RawBoost(Item):
    """RawBoost by its number: 1 LnL, 2 ISD, 3 SSI, 4 = 1+2+3, 5 = 1+2, 6 = 1+3, 7 = 2+3, 8 = 1 and 2 side by side.

    `nonlinear_db` is how much weaker LnL's higher orders are, `impulses_percent` how many samples ISD changes, `snr_db` that
    of SSI.
    """

    limits = {"nonlinear_db": (0.0, 80.0), "impulses_percent": (0.0, 100.0), "snr_db": (-10.0, 90.0)}
    kind: Literal["rawboost"]
    algorithm: Annotated[int, Field(ge=1, le=8)] = 4
    nonlinear_db: Range = (20.0, 5.0)
    impulses_percent: Range = (2.0, 10.0)
    snr_db: Range = (40.0, 10.0)


class Gain(Item):
    """A change of level either way; its size in dB."""

    limits = {"gain_db": (0.0, 40.0)}
    kind: Literal["gain"]
    gain_db: Range = (0.0, 6.0)


class Polarity(Item):
    """The sign of the waveform inverted."""

    kind: Literal["polarity"]


class LowPass(Item):
    """Everything above the cut-off removed."""

    limits = {"cutoff_hz": (500.0, 7900.0)}
    kind: Literal["low_pass"]
    cutoff_hz: Range = (7000.0, 3000.0)


class Equaliser(Item):
    """A smooth random frequency response; the size of its gains in dB."""

    limits = {"gain_db": (0.0, 24.0)}
    kind: Literal["equaliser"]
    gain_db: Range = (0.0, 9.0)


class Resampling(Item):
    """Resampled to a lower rate and back."""

    limits = {"rate_hz": (2000.0, 16_000.0)}
    kind: Literal["resampling"]
    rate_hz: Range = (15_000.0, 8000.0)


class Pitch(Item):
    """Pitch up or down, at the same tempo; its size in semitones."""

    limits = {"semitones": (0.0, 12.0)}
    kind: Literal["pitch"]
    semitones: Range = (0.0, 2.0)


class Stretch(Item):
    """Another tempo at the same pitch: `rate` above 1 is faster. A shorter result is filled by repetition."""

    limits = {"rate": (0.5, 2.0)}
    kind: Literal["stretch"]
    rate: Range = (1.0, 1.1)


class Shift(Item):
    """The clip rotated by a share of its length, either way; not aligned."""

    limits = {"share": (0.0, 0.5)}
    kind: Literal["shift"]
    share: Range = (0.0, 0.1)


class Normalise(Item):
    """Scaled to a peak of 1."""

    kind: Literal["normalise"]


class Clipping(Item):
    """The loudest samples clipped; their share in percent."""

    limits = {"percent": (0.0, 20.0)}
    kind: Literal["clipping"]
    percent: Range = (1.0, 10.0)


class TrimSilence(Item):
    """Silent edges removed: frames `below_db` below the loudest frame; the rest is repeated to the same length."""

    limits = {"below_db": (10.0, 100.0)}
    kind: Literal["trim_silence"]
    below_db: Range = (60.0, 30.0)


AnyItem = Annotated[
    Codec | CodecChain | Telephone | PacketLoss | Noise | Background | Babble | Reverberation | RawBoost | Gain | Polarity
    | LowPass | Equaliser | Resampling | Pitch | Stretch | Shift | Normalise | Clipping | TrimSilence | QuantisedTelephone,
    Field(discriminator="kind"),
]  # fmt: skip


class OneOf(Item):
    """One of `choices`, drawn for each clip; the `p` of a choice is not used."""

    kind: Literal["one_of"]
    choices: Annotated[tuple[AnyItem, ...], Field(min_length=1)]


def catalogue() -> tuple[Item, ...]:
    """All kinds of distortions with default ranges, except `background`, which needs a folder."""
    kinds = [kind for kind in get_args(get_args(AnyItem)[0]) if kind is not Background]
    return tuple(kind(kind=get_args(kind.model_fields["kind"].annotation)[0]) for kind in kinds)


class AugmentationConfig(BaseModel):
    """Training-time distortions (train split only).

    `distortions` are applied in order, each with the probability `p` times `probability`; with `together` one draw with
    `probability` decides for all of them, and each then has the probability `p`. `probability` and `intensity` have two
    values: one before the loss switch, and one `ramp_epochs` epochs after it (0 = no ramp; one number means both).
    With `loss.kind` focal the ramp starts with the first epoch. Without `rise` there is none, but a feature bank is that of
    the profile with it, so that the two can be compared. `speed` is a range of factors on tempo and pitch together,
    drawn before cropping. Crops of training clips start at random, or without `random_start` at the beginning. `views` is the
    number of differently cropped and distorted versions of a clip in a feature bank; with a ramp, half of them, rounded down,
    have its final strength and are drawn in proportion to its progress.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    probability: tuple[Fraction, Fraction] = (0.5, 0.5)
    intensity: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] = (1.0, 1.0)
    ramp_epochs: Annotated[int, Field(ge=0)] = 0
    rise: bool = True
    together: bool = False
    speed: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1.0, 1.0)
    random_start: bool = True
    distortions: tuple[Annotated[AnyItem | OneOf, Field(discriminator="kind")], ...] = (
        Noise(kind="noise"),
        Gain(kind="gain"),
        Codec(kind="codec"),
    )
    views: Annotated[int, Field(ge=1)] = 2

    @model_validator(mode="before")
    @classmethod
    def _one_for_both(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        pairs = {k: [values[k]] * 2 for k in ("probability", "intensity") if isinstance(values.get(k), (int, float))}
        return values | pairs

    @property
    def items(self) -> tuple[Item, ...]:
        """All distortions of the list, the choices of `one_of` one by one."""
        return tuple(choice for item in self.distortions for choice in (item.choices if isinstance(item, OneOf) else (item,)))

    @property
    def first_risen_view(self) -> int:
        """The first of a bank's views with the ramp's final strength; `views` if there is no ramp."""
        return self.views - self.views // 2 if self.ramp_epochs else self.views
