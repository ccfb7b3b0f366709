"""Measure XLS-R 300M on a GPU: feature extraction, a training step from the bank, and a training step as in the paper.

    python benchmarks/encoder_gpu.py                                  # any GPU; pass --peak-tflops if the table lacks it
    python benchmarks/encoder_gpu.py --device cpu --tiny --eager      # test whether the script runs

Extraction: waveforms on the device -> fp16 features of the last layer, with `precision: bf16`, SDPA, with and without
`compile: true`. Model FLOP utilisation = GFLOP per clip (counted by `models.cost`) x clips/s / the GPU's dense bf16 peak.

Training step from the bank: fp16 features of 48 clips from pinned memory -> the paper's back end, bf16 autocast, hybrid loss,
gradient clipping, AdamW. Training step as in the paper: waveforms of 48 clips from pinned memory -> the encoder in fp32, eager
-> the same back end in fp32, with PyTorch's defaults. Neither includes reading files or distortions. The number of host
synchronisations per step is reported by `torch.cuda.set_sync_debug_mode`.

The encoder has random weights unless `--encoder` is given; speed does not depend on the weights. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from aasist_lib.config import FrontendConfig, LossConfig, ModelConfig
from aasist_lib.losses import LossSchedule
from aasist_lib.models import AASIST, build_model
from aasist_lib.models.cost import GIGA, PAPER_SAMPLES, XLSR_300M, count_cost

PEAK_TFLOPS = {
    "B200": 2250, "H200": 989, "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "A100": 312, "L40S": 362, "L40": 181, "L4": 121,
    "A40": 150, "A10G": 70, "A10": 125, "RTX 4090": 165, "RTX 3090": 71,
}  # fmt: skip
"""Part of a GPU's name -> dense bf16 TFLOP/s with fp32 accumulation, from NVIDIA's data sheets; the first match is used."""
TINY = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
}  # fmt: skip
TRAINING_BATCH = 48
"""Batch size of the paper."""
AIMS = {"mfu": 0.5, "training_ratio": 5.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 32, 48, 96, 192], help="batch sizes for extraction")
    parser.add_argument("--encoder", help="hub name or folder of an encoder, instead of random weights")
    parser.add_argument("--rounds", type=int, default=20, help="number of timed passes; the median is reported")
    parser.add_argument("--eager", action="store_true", help="do not measure with torch.compile")
    parser.add_argument("--peak-tflops", type=float, help="dense bf16 peak from the GPU's data sheet")
    parser.add_argument("--tiny", action="store_true", help="use a small encoder and half-second clips, to test the script")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("no GPU found; pass --device cpu --tiny --eager to test the script")
    name, peak = device_facts(options)
    with tempfile.TemporaryDirectory() as folder:
        encoder = options.encoder or random_encoder(Path(folder), TINY if options.tiny else XLSR_300M)
        found = measure(encoder, 8_000 if options.tiny else PAPER_SAMPLES, peak, options)
    facts = {"device": name, "peak_tflops": peak, "torch": torch.__version__, "date": date.today().isoformat()}
    facts["encoder"] = options.encoder or f"{'tiny' if options.tiny else 'XLS-R 300M'}, random weights"
    print(json.dumps({**facts, **found, "aims": AIMS}))


def device_facts(options: argparse.Namespace) -> tuple[str, float | None]:
    """Return the device's name and its peak in TFLOP/s; None on CPU unless --peak-tflops is given."""
    if options.device == "cpu":
        return "cpu", options.peak_tflops
    name = torch.cuda.get_device_name()
    peak = options.peak_tflops or next((peak for part, peak in PEAK_TFLOPS.items() if part in name), None)
    if peak is None:
        raise SystemExit(f"{name} is not in PEAK_TFLOPS: pass its dense bf16 TFLOP/s with --peak-tflops")
    return name, peak


def random_encoder(folder: Path, settings: dict[str, Any]) -> str:
    """Save a wav2vec 2.0 of this shape with random weights and its preprocessor; return the folder."""
    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config(**settings)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)
    return str(folder)


def measure(encoder: str, samples: int, peak: float | None, options: argparse.Namespace) -> dict[str, Any]:
    """Run all measurements one after the other; each frees its memory before the next."""
    model = build_model(ModelConfig(frontend=FrontendConfig(name=encoder)))
    gflop = count_cost(model, samples).gflop_frontend
    frames = model.frontend(torch.zeros(1, samples)).shape[2]
    batch = 2 if options.tiny else TRAINING_BATCH
    waves = torch.randn(batch, samples) * 0.05
    paper = training(model, waves, "no", options)
    bank = torch.randn(batch, 1, frames, model.frontend.features).half()
    from_bank = training(model.backend, bank, "bf16", options)
    del model
    found: dict[str, Any] = {"gflop_clip": round(gflop, 4), "extraction": {}}
    for compiled in (False,) if options.eager else (False, True):
        config = FrontendConfig(name=encoder, precision="bf16", compile=compiled)
        rates = extraction(config, samples, options)
        form = "bf16, compiled" if compiled else "bf16, eager"
        found["extraction"][form] = {size: _utilised(rate, gflop, peak) for size, rate in rates.items()}
    best = max(row["mfu"] or 0 for rows in found["extraction"].values() for row in rows.values())
    ratio = from_bank["clips_per_second"] / paper["clips_per_second"]
    rows = {"training_from_bank": from_bank, "training_as_the_paper": paper, "training_ratio": round(ratio, 2)}
    return found | rows | {"best_mfu": best if peak else None}


def extraction(config: FrontendConfig, samples: int, options: argparse.Namespace) -> dict[int, float]:
    """Return clips per second by batch size."""
    encoder = build_model(ModelConfig(frontend=config)).frontend.to(options.device)
    rates = {}
    for size in [1, 2] if options.tiny else options.batches:
        wave = torch.randn(size, samples, device=options.device) * 0.05
        with torch.inference_mode():
            rates[size] = size / _seconds(lambda wave=wave: encoder(wave).half(), options)
    return rates


def training(trained: AASIST | nn.Module, inputs: Tensor, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return clips per second of a training step, and the number of host synchronisations per step.

    Args:
        trained: the detector, or only its back end.
        inputs: a batch on the host, waveforms or fp16 features.
        precision: 'no' or 'bf16', as `training.mixed_precision`.
    """
    device = torch.device(options.device)
    trained = trained.to(device).train()
    weights = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=1e-4, fused=True)
    schedule = LossSchedule(LossConfig())
    labels = torch.arange(len(inputs)) % 2
    if device.type == "cuda":
        inputs, labels = inputs.pin_memory(), labels.pin_memory()

    def step() -> Tensor:
        given, truth = (tensor.to(device, non_blocking=True) for tensor in (inputs, labels))
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = trained(given.float())
        loss = schedule.loss(logits.float(), truth, 1)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        return loss.detach()

    rate = len(inputs) / _seconds(step, options)
    return {"batch": len(inputs), "clips_per_second": round(rate, 1), "host_syncs_a_step": host_syncs(step, device)}


def host_syncs(step: Callable[[], Any], device: torch.device) -> int | None:
    """Return how often the host waits for the GPU in a step; None on CPU."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing CUDA operation" in str(warning.message) for warning in seen)


def _seconds(work: Callable[[], Any], options: argparse.Namespace) -> float:
    """Return the seconds of one call: the median of `rounds` synchronised calls, after three to warm up (and compile)."""
    wait = torch.cuda.synchronize if options.device != "cpu" else nullcontext
    taken = []
    for _ in range(3 + (1 if options.tiny else options.rounds)):
        wait()
        started = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - started)
    return median(taken[3:])


def _utilised(rate: float, gflop: float, peak: float | None) -> dict[str, float | None]:
    return {"clips_per_second": round(rate, 1), "mfu": round(rate * gflop * GIGA / (peak * 1e12), 4) if peak else None}


if __name__ == "__main__":
    main()
