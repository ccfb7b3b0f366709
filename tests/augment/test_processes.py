"""What a clip becomes does not depend on how many processes and workers share the epoch."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.training.test_trainer import changed

SCRIPT = """
import hashlib, json, sys
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.utils.data import DataLoader
from aasist_lib.augment import Strength
from aasist_lib.config import Profile
from aasist_lib.corpora import load_trials
from aasist_lib.datasets.clips import clips_for
from aasist_lib.datasets.training_set import EpochSampler, TrialData

profile, workers, out = Profile.model_validate_json(open(sys.argv[1]).read()), int(sys.argv[2]), sys.argv[3]
trials = load_trials(profile.data)
trials = trials[trials["split"] == "train"].reset_index(drop=True)
data = TrialData(trials, clips_for(profile, trials, True, profile.seed), profile.seed)
sampler = EpochSampler(trials, profile.seed)
accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == int(sys.argv[4])
options = {"num_workers": workers, "persistent_workers": workers > 0}
loader = accelerator.prepare(DataLoader(data, batch_size=3, sampler=sampler, **options))
found = []
for epoch in (1, 2):
    sampler.epoch = epoch
    data.begin(epoch, Strength(0.8, float(epoch)))
    for waves, _, rows in loader:
        found += [[epoch, int(row), hashlib.sha256(wave.numpy()).hexdigest()] for wave, row in zip(waves, rows)]
found = gather_object(found)
if accelerator.is_main_process:
    json.dump(found, open(out, "w"))
accelerator.wait_for_everyone()
accelerator.end_training()  # a process that leaves while the other still talks to it would be killed by gloo
"""


def clips(profile, folder: Path, processes: int, workers: int) -> dict[tuple[int, int], str]:
    """What each (epoch, row) becomes: a hash of the samples."""
    (folder / "script.py").write_text(SCRIPT)
    (folder / "profile.json").write_text(profile.model_dump_json())
    # On CPU `accelerate launch` of accelerate 1.15 starts one process whatever number it is given; torch's launcher does not.
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    arguments = [folder / "script.py", folder / "profile.json", workers, folder / "out.json", processes]
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    command = [sys.executable, *launch, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads((folder / "out.json").read_text())
    return {(epoch, row): digest for epoch, row, digest in rows}


def test_processes_and_workers_give_every_clip_the_same_distortion(tiny_profile, tmp_path):
    items = [{"kind": kind} for kind in ("noise", "codec", "reverberation", "babble", "rawboost")]
    profile = changed(tiny_profile, augmentation={"distortions": items, "speed": [0.9, 1.1]})
    alone = clips(profile, tmp_path, 1, 0)
    assert len(alone) == 24 and len(set(alone.values())) == 24
    assert clips(profile, tmp_path, 2, 0) == alone
    assert clips(profile, tmp_path, 2, 2) == alone, "workers that go on running must hear of the new epoch and strength"
