"""The ready configurations of `accelerate launch`, and the Slurm script, as far as they can be tried without GPUs."""

import json
import os
import subprocess
import sys

import pytest
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from aasist_lib.__main__ import _parser
from aasist_lib.config import load_profile
from tests.conftest import ROOT

FOLDER = ROOT / "configs" / "accelerate"
SHAPES = {  # machines, processes of all of them together, several GPUs, CPU
    "one_gpu": (1, 1, False, False), "eight_gpus": (1, 8, True, False), "two_nodes": (2, 16, True, False),
    "two_cpu_processes": (1, 2, True, True),
}  # fmt: skip


def launched(arguments):
    """What accelerate makes of the arguments of `accelerate launch`, and what is left for the library's own command line."""
    options, *_ = _validate_launch_command(launch_command_parser().parse_args(arguments))
    assert options.module and options.training_script == "aasist_lib"
    return options, _parser().parse_args(options.training_script_args)


def test_every_configuration_is_tried_here():
    assert {file.stem for file in FOLDER.glob("*.yaml")} == set(SHAPES)


@pytest.mark.parametrize(("name", "shape"), SHAPES.items())
def test_accelerate_reads_each_and_starts_what_it_says(name, shape):
    file = str(FOLDER / f"{name}.yaml")
    config = load_config_from_file(file)
    assert isinstance(config, ClusterConfig) and config.mixed_precision is None  # the profile's business
    options, own = launched(["--config_file", file, "-m", "aasist_lib", "train", "asvspoof5", "--set", "seed=2"])
    assert (options.num_machines, options.num_processes, options.multi_gpu, options.use_cpu) == shape
    assert own.command.__name__ == "train" and load_profile(own.profile, own.set).seed == 2


def test_the_command_in_each_file_is_one_that_works():
    for file in FOLDER.glob("*.yaml"):
        for line in file.read_text().splitlines():
            if "accelerate launch --config_file" in line:
                command = line.split("accelerate launch ")[1].split()
                assert command[1] == f"configs/accelerate/{file.name}"
                launched(["--config_file", str(ROOT / command[1]), *command[2:]])


def test_two_cpu_processes_are_started_and_find_one_another(tmp_path):
    (tmp_path / "who.py").write_text(
        "from aasist_lib.runtime.processes import launched\n"
        "world = launched()\n"
        "open(f'{__file__}.{world.process_index}of{world.num_processes}.{world.device.type}', 'w').close()\n"
        "world.wait_for_everyone()\nworld.destroy_process_group()\n"
    )
    accelerate = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--main_process_port", "0"]
    command = [*accelerate, "--config_file", str(FOLDER / "two_cpu_processes.yaml"), str(tmp_path / "who.py")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {file.name for file in tmp_path.glob("who.py.*")} == {"who.py.0of2.cpu", "who.py.1of2.cpu"}


SRUN = """#!/bin/bash
shift                                        # --kill-on-bad-exit=1
for rank in 0 1; do SLURM_PROCID=$rank "$@" || exit; done
"""
ACCELERATE = f"""#!{sys.executable}
import json, os, sys
with open("called.jsonl", "a") as file:
    offline = os.environ["HF_HUB_OFFLINE"]
    print(json.dumps([offline, *sys.argv[1:]]), file=file)
sys.exit(int(os.environ.get("FAILS", "0")))
"""


def slurm(folder, *arguments, **environment):
    """Run the batch script as Slurm would, with stand-ins for `srun`, `scontrol` and `accelerate`; how they were called."""
    tools = folder / ".venv" / "bin"
    tools.mkdir(parents=True)
    for name, text in (("srun", SRUN), ("accelerate", ACCELERATE), ("scontrol", "#!/bin/bash\necho node07\necho node08\n")):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    told = {"SLURM_JOB_NODELIST": "node[07-08]", "SLURM_JOB_ID": "123456", **environment}
    done = subprocess.run(
        ["bash", str(FOLDER / "two_nodes.sbatch"), *arguments],
        cwd=folder,
        env=os.environ | told,
        capture_output=True,
        text=True,
    )
    return done, [json.loads(line) for line in (folder / "called.jsonl").read_text().splitlines()]


def test_under_slurm_each_node_starts_one_launcher_that_meets_at_the_first(tmp_path):
    done, calls = slurm(tmp_path, "asvspoof5", "--set", "training.epochs=3", "title=Two words")
    assert done.returncode == 0, done.stderr
    seen = []
    for offline, verb, *arguments in calls:
        assert (offline, verb) == ("1", "launch")
        arguments[1] = str(ROOT / arguments[1])  # the configuration, from the repository's root
        options, own = launched(arguments)
        assert (options.num_machines, options.num_processes) == (2, 16)
        assert (options.main_process_ip, options.main_process_port) == ("node07", 20_000 + 123_456 % 20_000)
        profile = load_profile(own.profile, own.set)
        assert profile.training.epochs == 3 and profile.title == "Two words" and profile.name == "asvspoof5"
        seen.append((own.command.__name__, options.machine_rank))
    assert seen == [("train", 0), ("train", 1), ("score", 0), ("score", 1)]


def test_under_slurm_nothing_is_scored_when_training_failed(tmp_path):
    done, calls = slurm(tmp_path, FAILS="3")
    assert done.returncode == 3 and len(calls) == 1 and "train" in calls[0]


def test_the_batch_script_is_bash_and_asks_for_what_its_configuration_says():
    script = FOLDER / "two_nodes.sbatch"
    subprocess.run(["bash", "-n", str(script)], check=True)
    asked = dict(
        line.split()[1].split("=", 1)
        for line in script.read_text().splitlines()
        if line.startswith("#SBATCH --") and "=" in line
    )
    config = load_config_from_file(str(FOLDER / "two_nodes.yaml"))
    assert int(asked["--nodes"]) == config.num_machines and asked["--ntasks-per-node"] == "1"
    assert int(asked["--nodes"]) * int(asked["--gpus-per-node"]) == config.num_processes
    workers = load_profile("asvspoof5").training.workers
    assert int(asked["--cpus-per-task"]) >= int(asked["--gpus-per-node"]) * (workers + 1)
