"""Train a neural vocoder on a folder of recordings with one sub-folder per speaker.

    python -m demo_corpus.vocoders.train istft SPEECH --out demo_corpus/vocoders --steps 100000 --minutes 120
    python -m demo_corpus.vocoders.train istft SPEECH --out /tmp/try --device cpu --steps 20 --minutes 1 --batch 2

Writes NAME.safetensors (half precision) and NAME.json (settings, losses, date) about once a minute and at
the end. Needs only torch, numpy, safetensors and soundfile.
"""

from __future__ import annotations

import argparse
import json
import os
from datetime import date
from pathlib import Path

import soundfile
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from demo_corpus.vocoders.networks import NETWORKS, RATE, Vocoder
from demo_corpus.vocoders.training import Schedule, random_segments, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("speech", type=Path, help="folder with one sub-folder of 16 kHz FLAC files per speaker")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=5e-4, help="learning rate at the start")
    parser.add_argument("--warm-up", type=float, default=0.1, help="share of the training without discriminators")
    parser.add_argument("--windows", type=int, nargs="*", default=[256, 512, 1024], help="of the spectrogram discriminators")
    parser.add_argument("--start", type=Path, help="weights of another vocoder for the parts that have the same names")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    clips = read_clips(options.speech, options.device)
    vocoder = NETWORKS[options.network]().to(options.device)
    if options.start:
        start_from(vocoder, options.start)
    windows = tuple(options.windows)
    schedule = Schedule(options.steps, options.minutes, options.batch, options.rate, options.warm_up, windows)
    batches = random_segments(clips, options.batch, torch.Generator().manual_seed(options.seed))
    facts = {
        "network": options.network,
        "parameters": sum(parameter.numel() for parameter in vocoder.parameters()),
        "speakers": {speaker: len(waves) for speaker, waves in clips.items()},
        "minutes_of_speech": round(sum(len(wave) for waves in clips.values() for wave in waves) / RATE / 60, 1),
        "batch": options.batch,
        "start": options.start and options.start.stem,
        "seed": options.seed,
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }
    options.out.mkdir(parents=True, exist_ok=True)

    def keep(averaged: Vocoder, losses: dict[str, float]) -> None:
        print(options.network, json.dumps(losses), flush=True)
        write(options.out, averaged, facts | {"training": losses})

    train(vocoder, batches, schedule, keep)


def read_clips(folder: Path, device: str) -> dict[str, list[Tensor]]:
    """Read every speaker's recordings, `(samples,)` each."""
    clips: dict[str, list[Tensor]] = {}
    for path in sorted(folder.glob("*/*.flac")):
        wave, rate = soundfile.read(path, dtype="float32")
        if rate != RATE or wave.ndim != 1:
            raise SystemExit(f"{path}: {rate} Hz, shape {wave.shape}; mono at {RATE} Hz is needed")
        clips.setdefault(path.parent.name, []).append(torch.from_numpy(wave).to(device))
    if not clips:
        raise SystemExit(f"{folder}: no */*.flac; write them with `python -m demo_corpus.vocoders.speech {folder}`")
    return clips


def start_from(vocoder: Vocoder, weights: Path) -> None:
    """Load the parts of another vocoder that have the same names and shapes; refuse weights without any."""
    own = vocoder.state_dict()
    same = {name: value for name, value in load_file(weights).items() if name in own and value.shape == own[name].shape}
    if not same:
        raise SystemExit(f"{weights}: has no part in common with this network")
    vocoder.load_state_dict(own | same)


def write(folder: Path, vocoder: Vocoder, facts: dict[str, object]) -> None:
    """Write the weights in half precision and the facts, replacing earlier ones."""
    name = str(facts["network"])
    state = {key: value.half().cpu().contiguous() for key, value in vocoder.state_dict().items()}
    weights, notes = folder / f"{name}.safetensors", folder / f"{name}.json"
    save_file(state, weights.with_suffix(".part"))
    os.replace(weights.with_suffix(".part"), weights)
    notes.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
