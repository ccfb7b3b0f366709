import shutil
from pathlib import Path

import pytest

import aasist_lib
from aasist_lib.config import ConfigError, load_profile, project_root

CONFIGS = sorted((project_root() / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_profile_loads_by_path_and_by_name(path):
    assert load_profile(path) == load_profile(path.stem)
    assert load_profile(path).name == path.stem


def test_overrides_are_typed_and_reach_their_section(tmp_path):
    profile = load_profile("demo", ["training.epochs=3", "loss.kind=ce", "model.frontend.max_layer=null", "run_dir=/x/y"])
    assert profile.training.epochs == 3 and profile.loss.kind == "ce"
    assert profile.model.frontend.max_layer is None and profile.folder == Path("/x/y")
    assert load_profile("demo", ["name=other"]).folder == Path("runs/other")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=3", "^--set training.epoch=3: .*'training.epoch'.*'training.epochs'"),
        ("trainig.epochs=3", "^--set trainig.epochs=3: .*'trainig'.*'training'"),
        (
            "model.frontend.nam=x",
            "^--set model.frontend.nam=x: .*'model.frontend.nam'.*'model.frontend.name'",
        ),
        ("nothing=3", "^--set nothing=3: .*'nothing'"),
        ("training.epochs=0", "'training.epochs' = 0"),
        ("training.epochs=many", "'training.epochs' = 'many'"),
        ("model.heads=3", "heads = 3 .*graph_dims"),
        ("model.pool_ratios=[0, 0.5, 0.5]", "pool_ratios"),
        ("training.feature_cache=false", "set feature_cache: true, .*crop_frames"),
        ("model.fusion=sum", "'model.fusion' = 'sum'"),
        ("seed.x=1", "'seed' "),
        ("seed", "section.key=value"),
        ("seed=[1", "YAML"),
    ],
)
def test_wrong_keys_and_values_are_named(override, message):
    with pytest.raises(ConfigError, match=message):
        load_profile("demo", [override])


def test_missing_profiles_list_those_there_are():
    with pytest.raises(ConfigError, match="nothere.*configs/.*demo"):
        load_profile("nothere")


def test_bad_files_are_named(tmp_path):
    (tmp_path / "list.yaml").write_text("- a\n")
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    with pytest.raises(ConfigError, match="list.yaml: .*mapping"):
        load_profile(tmp_path / "list.yaml")
    with pytest.raises(ConfigError, match="broken.yaml: .*YAML"):
        load_profile(tmp_path / "broken.yaml")


def test_the_root_is_that_of_the_clone_around_and_elsewhere_the_package_s_own(tmp_path):
    own = Path(aasist_lib.__file__).parents[1]
    assert project_root(own / "tests" / "models") == project_root(tmp_path) == own
    for name in ("aasist_lib", "configs"):
        (tmp_path / "clone" / name).mkdir(parents=True)
    shutil.copy(own / "pyproject.toml", tmp_path / "clone")
    assert project_root(tmp_path / "clone" / "configs") == tmp_path / "clone"
    (tmp_path / "clone" / "pyproject.toml").write_text('[project]\nname = "another"\n')
    assert project_root(tmp_path / "clone" / "configs") == own, "another project's folder is not taken for a clone"


# ---- profiles that extend another ------------------------------------------------------------------------------------


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_a_profile_takes_the_keys_of_the_one_it_extends_except_its_own(tmp_path):
    base = "name: base\ntitle: Base\nseed: 5\nmodel: {dropout: 0.1, frontend: {name: a, layer: 3}}\nnotebooks: ['01', '03']\n"
    middle = f"extends: {tmp_path}/base.yaml\nname: middle\nmodel: {{frontend: {{layer: 7}}}}\n"
    top = "extends: middle.yaml\nname: top\nnotebooks: ['05']\n"
    write(tmp_path, base=base, middle=middle, top=top)
    found = load_profile(tmp_path / "top.yaml", ["model.dropout=0.3"])
    assert (found.name, found.title, found.seed, found.notebooks) == ("top", "Base", 5, ("05",))
    assert (found.model.dropout, found.model.frontend.name, found.model.frontend.layer) == (0.3, "a", 7)


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"a": "extends: b.yaml\nname: a\n", "b": "extends: a.yaml\ntitle: B\n"}, r"a\.yaml extends b\.yaml extends a\.yaml"),
        ({"a": "extends: nowhere\nname: a\n"}, r"a\.yaml: extends: nowhere"),
        ({"a": "extends: [b, c]\nname: a\n"}, r"a\.yaml: extends = \['b', 'c'\]"),
        ({"a": "extends: b.yaml\nname: a\n", "b": "title: [\n"}, r"b\.yaml"),
    ],
)
def test_a_wrong_extends_is_an_error_with_the_file(tmp_path, monkeypatch, files, named):
    write(tmp_path, **files)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=named):
        load_profile("a.yaml")


def test_the_layers_profiles_differ_from_theirs_in_the_layer_alone():
    for name in ("asvspoof5", "in_the_wild"):
        last, layers = load_profile(name), load_profile(f"{name}_layers")
        frontend = last.model.frontend.model_copy(update={"layer": 7})
        model = last.model.model_copy(update={"frontend": frontend, "layer_norm": True})
        assert layers == last.model_copy(update={"name": layers.name, "title": layers.title, "model": model})
