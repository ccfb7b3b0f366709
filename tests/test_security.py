"""Nothing let in: no file that the workbook reads runs code, and no source of it uses what could."""

from __future__ import annotations

import ast
import json
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from aasist_lib.config import ConfigError, FrontendConfig, Profile, load_profile
from aasist_lib.corpora import TrialTableError, read_trials
from aasist_lib.datasets.feature_bank import FeatureError
from aasist_lib.evaluation.score_files import TableError, read_scores
from aasist_lib.models.checkpoints import CheckpointError, load_model, read_facts
from aasist_lib.models.encoder import SpeechEncoder
from aasist_lib.models.original import OfficialWeightsError, load_official_aasist
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.training import train
from demo_corpus.encoders.whisper import ConversionError, read_ctranslate2

ROOT = Path(__file__).parents[1]


# ---- what no source may call -----------------------------------------------------------------------------------------

FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput",
    "asyncio.create_subprocess_shell", "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads",
    "shelve.open", "pandas.read_pickle", "torch.jit.load", "torch.hub.load", "numpy.lib.format.read_array", "yaml.load_all",
    "yaml.full_load", "yaml.full_load_all", "yaml.unsafe_load", "yaml.unsafe_load_all", "tempfile.mktemp",
    "shutil.unpack_archive", "tarfile.open", "ssl._create_unverified_context",
}  # fmt: skip
"""By full name. An archive is opened with zipfile alone, and nothing of it is put on disk by the names in it."""
METHODS = {"extract", "extractall", "read_pickle", "to_pickle"}
"""Forbidden whatever they are called on."""
PACKAGES = {"joblib", "dill", "cloudpickle", "shelve", "marshal"}
REQUIRED = {"torch.load": ("weights_only", True)}
"""An argument without which a call is refused."""
ARGUMENTS = {"shell": False, "allow_pickle": False, "trust_remote_code": False, "weights_only": True, "verify": True}
"""The only value that an argument of this name may have."""


def offences(source: str) -> list[str]:
    """The forbidden calls and imports of a Python source, each as `line: what`."""
    tree = ast.parse(source)
    aliases: dict[str, str] = {}
    found, loaders = [], {"yaml.SafeLoader", "yaml.CSafeLoader"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {(name.asname or name.name).split(".")[0]: name.name for name in node.names if name.asname}
            found += [f"{node.lineno}: import {n.name}" for n in node.names if n.name.split(".")[0] in PACKAGES]
        elif isinstance(node, ast.ImportFrom) and node.module:
            aliases |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
            found += [f"{node.lineno}: import {node.module}"] if node.module.split(".")[0] in PACKAGES else []
        elif isinstance(node, ast.ClassDef) and {ast.unparse(base) for base in node.bases} <= {"yaml.SafeLoader"}:
            loaders |= {node.name} if node.bases else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found += [f"{node.lineno}: {what}" for what in _offences_of(node, aliases, loaders)]
    return found


def _offences_of(call: ast.Call, aliases: dict[str, str], loaders: set[str]) -> Iterator[str]:
    first, *rest = ast.unparse(call.func).split(".")
    name = ".".join([aliases.get(first, first), *rest])
    arguments = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in FORBIDDEN or (rest and rest[-1] in METHODS):
        yield name
    if name in REQUIRED and REQUIRED[name][0] not in arguments:
        yield f"{name} without {REQUIRED[name][0]}"
    if rest and rest[-1] == "from_pretrained" and "trust_remote_code" not in arguments:
        yield f"{name} without trust_remote_code"
    if name == "yaml.load" and not {ast.unparse(each) for each in [*call.args[1:], *arguments.values()]} & loaders:
        yield f"{name} without a safe loader"
    for argument, value in arguments.items():
        if argument in ARGUMENTS and not (isinstance(value, ast.Constant) and value.value is ARGUMENTS[argument]):
            yield f"{name}({argument}={ast.unparse(value)})"


def scripts() -> list[Path]:
    return sorted(
        file for folder in ("aasist_lib", "demo_corpus", "benchmarks", "tools") for file in (ROOT / folder).rglob("*.py")
    )


def notebooks() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def code_of(notebook: Path) -> str:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_no_script_calls_what_could_run_other_people_s_code() -> None:
    assert len(scripts()) > 90
    assert [f"{file}:{what}" for file in scripts() for what in offences(file.read_text(encoding="utf-8"))] == []


def test_no_notebook_does_and_none_has_shell_or_magic_lines() -> None:
    assert len(notebooks()) == 7
    assert [f"{file}:{what}" for file in notebooks() for what in offences(code_of(file))] == []


@pytest.mark.parametrize("source", [
    "import torch\ntorch.load(f)", "from torch import load\nload(f)", "import torch as t\nt.load(f, weights_only=False)",
    "import numpy as np\nnp.load(f, allow_pickle=True)", "np.load(f, allow_pickle=flag)", "import pickle as p\np.loads(b)",
    "from pickle import Unpickler\nUnpickler(f).load()", "import pandas as pd\npd.read_pickle(f)", "import joblib",
    "from joblib import load", "import yaml\nyaml.load(text, Loader=yaml.Loader)",
    "import yaml\nclass Mine(yaml.Loader): pass\nyaml.load(text, Mine)", "import yaml\nyaml.load(text)",
    "import os\nos.system('x')",
    "from os import system\nsystem('x')", "import subprocess\nsubprocess.run('x', shell=True)", "eval(text)",
    "archive.extractall(folder)", "AutoModel.from_pretrained(name)", "M.from_pretrained(name, trust_remote_code=True)",
])  # fmt: skip
def test_the_search_finds(source: str) -> None:
    assert offences(source)


def test_the_search_lets_safe_calls_be() -> None:
    safe = "import numpy as np, torch, yaml, re\nmodel.eval()\nre.compile(x)\nnp.load(f)\nyaml.safe_load(t)\n"
    safe += "class Mine(yaml.SafeLoader): pass\nyaml.load(t, Mine)\nyaml.load(t, Loader=yaml.SafeLoader)\n"
    assert offences(safe + "torch.load(f, weights_only=True)\nnp.load(f, allow_pickle=False)\nrun(shell=False)") == []


# ---- files that would run code ---------------------------------------------------------------------------------------


class Bomb:
    """Whoever unpickles it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.mkdir, (self.marker,)


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """What a bomb makes; it must not be there at the end."""
    path = tmp_path / "a-bomb-went-off"
    yield path
    assert not path.exists(), "code of a file was run"


@pytest.fixture
def bomb(marker: Path) -> Bomb:
    """A bomb that is known to work."""
    made = Bomb(marker)
    pickle.loads(pickle.dumps(made))
    marker.rmdir()
    return made


def saved(bomb: Bomb, file: Path, form: str) -> Path:
    """The bomb as `torch.save` writes it, in an array as `numpy.save` does, or alone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:
        if form == "torch":
            torch.save({"key": bomb, "weights": torch.zeros(2)}, stream)
        elif form == "numpy":
            np.save(stream, np.array([bomb], dtype=object), allow_pickle=True)
        else:
            pickle.dump(bomb, stream)
    return file


FORMS = pytest.mark.parametrize("form", ["torch", "numpy", "pickle"])


@FORMS
def test_the_state_of_a_training(bomb: Bomb, tiny_profile: Profile, form: str) -> None:
    run = RunFolder.open(tiny_profile)
    file = saved(bomb, run.path("checkpoints", "last.pt"), form)
    with pytest.raises(CheckpointError, match=r"last\.pt: damaged") as caught:
        train(tiny_profile, run)
    assert str(file) in str(caught.value) and "weights_only" not in str(caught.value)


@FORMS
def test_a_checkpoint_and_official_weights(bomb: Bomb, tmp_path: Path, form: str) -> None:
    file = saved(bomb, tmp_path / "model.safetensors", form)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: "):
        load_model(tmp_path)
    with pytest.raises(OfficialWeightsError, match=r"model\.safetensors: "):
        load_official_aasist(file)


@pytest.mark.parametrize("facts", ["no JSON", "[1]", "{}", '{"model": 1, "encoder": {}}', "[" * 100_000])
def test_a_checkpoint_that_says_other_things_of_itself(tmp_path: Path, facts: str) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors", metadata={"facts": facts})
    with pytest.raises(CheckpointError, match=r"model\.safetensors: "):
        read_facts(tmp_path)


@FORMS
def test_features_on_disk(bomb: Bomb, tiny_profile: Profile, form: str) -> None:
    run = RunFolder.open(tiny_profile)
    short = tiny_profile.model_copy(update={"training": tiny_profile.training.model_copy(update={"epochs": 1})})
    train(short, run)
    shards = {file: file.read_bytes() for file in tiny_profile.data.cache_folder.glob("features/*/shard-*.npy")}
    try:
        for shard in shards:
            saved(bomb, shard, form)
        with pytest.raises(FeatureError, match=r"\.npy: .*damaged"):
            train(tiny_profile, run)
    finally:
        for shard, whole in shards.items():  # the corpus is the session's
            shard.write_bytes(whole)


@FORMS
def test_an_encoder_s_weights(bomb: Bomb, tiny_encoder: Path, tmp_path: Path, form: str) -> None:
    folder = encoder_copy(tiny_encoder, tmp_path)
    (folder / "model.safetensors").unlink()
    saved(bomb, folder / "pytorch_model.bin", form)
    with pytest.raises(ConfigError, match=": .*pickle") as caught:
        SpeechEncoder(FrontendConfig(name=str(folder)))
    assert "weights_only" not in str(caught.value)


def test_an_encoder_of_tensors_in_the_older_form_loads(tiny_encoder: Path, tmp_path: Path) -> None:
    """XLS-R was published in it."""
    from safetensors.torch import load_file

    folder = encoder_copy(tiny_encoder, tmp_path)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    older, newer = (SpeechEncoder(FrontendConfig(name=str(place))) for place in (folder, tiny_encoder))
    assert older.identity()["sha256"] == newer.identity()["sha256"]


@pytest.mark.parametrize("changes", [
    {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}},
    {"attn_implementation": "somebody/kernel"},
])  # fmt: skip
def test_an_encoder_s_own_code(marker: Path, tiny_encoder: Path, tmp_path: Path, changes: dict, monkeypatch) -> None:
    monkeypatch.setattr("builtins.input", lambda question: "y")
    folder = encoder_copy(tiny_encoder, tmp_path)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | changes))
    (folder / "own.py").write_text(f"import os\nos.mkdir({str(marker)!r})\nclass Config: pass\nclass Model: pass\n")
    with pytest.raises(ConfigError, match="custom code|'somebody/kernel'"):
        SpeechEncoder(FrontendConfig(name=str(folder)))


def encoder_copy(encoder: Path, folder: Path) -> Path:
    copy = folder / "encoder"
    copy.mkdir()
    for file in encoder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


@FORMS
def test_what_encoders_are_converted_from(bomb: Bomb, tmp_path: Path, form: str) -> None:
    blob = saved(bomb, tmp_path / "model.bin", form).read_bytes()
    with pytest.raises(ConversionError):
        read_ctranslate2(blob)


@FORMS
@pytest.mark.parametrize("ending", [".parquet", ".csv", ".tsv"])
def test_tables(bomb: Bomb, tmp_path: Path, form: str, ending: str) -> None:
    file = saved(bomb, tmp_path / f"table{ending}", form)
    with pytest.raises(TrialTableError, match=f"table{ending}"):
        read_trials(file)
    with pytest.raises(TableError, match=f"table{ending}"):
        read_scores(file)


def test_a_parquet_column_whose_type_is_a_pickle(bomb: Bomb, tmp_path: Path) -> None:
    """As `pyarrow` unpickled it before version 14 (CVE-2023-47248)."""
    kind = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickle.dumps(bomb)}
    schema = pa.schema([pa.field("utt_id", pa.string(), metadata=kind), pa.field("score", pa.float64())])
    pq.write_table(pa.table([pa.array(["a"]), pa.array([1.0])], schema=schema), tmp_path / "scores.parquet")
    assert list(read_scores(tmp_path / "scores.parquet")["utt_id"]) == ["a"]


def test_yaml_with_objects(marker: Path, tmp_path: Path) -> None:
    tagged = f"!!python/object/apply:os.mkdir ['{marker}']"
    file = tmp_path / "profile.yaml"
    file.write_text(f"name: {tagged}\n")
    with pytest.raises(ConfigError, match=r"profile\.yaml: .*YAML"):
        load_profile(file)
    with pytest.raises(ConfigError, match="override 'title=.*YAML"):
        load_profile("tiny", [f"title={tagged}"])


def test_yaml_that_stands_for_gigabytes(tmp_path: Path) -> None:
    """Ten lines, 10^10 values: the error quotes the first few."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for above, name in zip("abcdefghi", "bcdefghij", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{above}'] * 10)}]")
    file = tmp_path / "profile.yaml"
    file.write_text("\n".join([*lines, "name: *j"]))
    with pytest.raises(ConfigError, match="'name' = ") as caught:
        load_profile(file)
    assert len(str(caught.value)) < 10_000
