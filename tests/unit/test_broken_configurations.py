"""Nonsense in the configuration is refused in a sentence, and never by a traceback."""

import copy
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from tests.conftest import ROOT
from tests.fuzz.configurations import SETUPS, TEXTS, Rooms, outcomes

from nets import parts
from pipeline.config.errors import ConfigError, quoted
from pipeline.config.loading import COMMAND_LINE, load_config
from pipeline.config.yaml_files import check_stated_once, read_mapping
from pipeline.snakemake import machine
from pipeline.snakemake.workflow import check_files, check_folders

CASES = 300
SEED = 20261128

SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text())
RATE = "double_descent.laptop.training.learning_rate"
TRAINING = "double_descent.laptop.training"


def test_broken_configurations_are_accepted_or_refused(tmp_path):
    came = list(outcomes(CASES, SEED, tmp_path))
    assert len(came) == CASES
    wrong = [one for one in came if one[1] not in ("accepted", "refused")]
    assert not wrong
    assert sum(outcome == "refused" for _, outcome in came) > CASES / 2, "the generator breaks nothing"


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    return Rooms(tmp_path_factory.mktemp("rooms"))


def refused(load):
    with pytest.raises(ConfigError) as caught:
        load()
    (problem,) = caught.value.problems
    return problem


def overridden(rooms, overrides, file="config.yaml", **top):
    raw = copy.deepcopy(SHIPPED) | top | {"overrides": overrides}
    return load_config(raw, rooms.papers, lambda location: file)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (RATE, True, "True is not a number; write one"),
        (RATE, "0.1", "'0.1' is not a number; write 0.1 without quotes"),
        (RATE, "1e-3", "write 0.001 without quotes (YAML takes 1e-3, without a point"),
        (RATE, "fast", "'fast' is not a number; write one, such as 0.1"),
        (RATE, 10**400, "is not a number; it is too large"),
        (RATE, 10**30, "is out of range; whole numbers are at most 4294967295"),
        (RATE, float("nan"), "nan"),
        (f"{TRAINING}.shuffle", 1, "1 is neither true nor false"),
        (f"{TRAINING}.shuffle", "yes", "'yes' is neither true nor false"),
        (f"{TRAINING}.clip_norm", False, "False is not a number"),
        (f"{TRAINING}.schedule.warmup_updates", 10**30, "is out of range"),
        (f"{TRAINING}.schedule.warmup_updates", 16**5000, "a number of 20001 bits is out of range"),
        (f"{TRAINING}.order_seed", 2**64, "is out of range"),
        ("double_descent.laptop.label_noise.seed", 2**64, "is out of range"),
        ("double_descent.laptop.seeds", 4_000_000, "less than or equal to 10000"),
        ("double_descent.laptop.threshold_width", True, "write a number above 0"),
        ("double_descent.laptop.bounds.ord", True, "True is not known"),
        ("double_descent.laptop.training_points", 4001, "mnist1d has 4000; lower it, or write null"),
        ("cnn_cifar10.smoke.training_points", 50_001, "cifar10 has 50000"),
        (f"{TRAINING}.keep_epochs", [1, 5001], "epoch 5001 lies beyond max_epochs, 5000; leave it out"),
        (f"{TRAINING}.schedule.drop_epochs", [9000], "epoch 9000 lies beyond max_epochs, 5000"),
        ("toy.laptop.data_seed", 2**64, "is out of range"),
        ("toy.laptop.grid_points", 10**30, "is out of range"),
        ("subsampling.laptop.draws", 4_000_000, "ask for at most 10000"),
        ("distribution.laptop.widths", [64, 65], "width 65 is not trained by double_descent or"),
        ("depth.like", "double_descent", "only settings of a scale can be overridden"),
    ],
    ids=lambda value: quoted(value)[:40],
)
@pytest.mark.parametrize("file", ["config.yaml", COMMAND_LINE])
def test_nonsense_in_a_set_up_is_refused(rooms, path, value, words, file):
    if file == COMMAND_LINE and value in ("0.1", "yes"):  # Snakemake hands all on as texts
        assert overridden(rooms, {path: value}, file).trainings["double_descent"]["laptop"]
        return
    problem = refused(lambda: overridden(rooms, {path: value}, file))
    assert problem.startswith(f"{file}: overrides.{path}")
    assert words in problem


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("random_seed", 2**64, "is out of range"),
        ("random_seed", True, "True is not a whole number"),
        ("save_every", True, "True is not a number"),
        ("progress_every", "5", "write 5.0 without quotes"),
        ("simulations", True, "True is not a whole number"),
        ("simulations", "200", "'200' is not a whole number"),
        ("without", "cifar100", "is not a list; write [cifar100]"),
    ],
)
def test_nonsense_at_the_top_is_refused(rooms, key, value, words):
    problem = refused(lambda: overridden(rooms, {}, **{key: value}))
    assert problem.startswith(f"config.yaml: {key}: ")
    assert words in problem


def test_epochs_of_an_inherited_list_may_lie_beyond_the_end(rooms):
    config = overridden(rooms, {f"{TRAINING}.max_epochs": 2000, f"{TRAINING}.min_epochs": 0})
    training = config.trainings["double_descent"]["laptop"].training
    assert max(training.keep_epochs) > training.max_epochs
    like_it = config.trainings["double_descent_mse"]["laptop"].training
    assert max(like_it.keep_epochs) > like_it.max_epochs


def test_epochs_beyond_the_end_of_a_variant_are_refused(rooms):
    variant = {"training": {"max_epochs": 1000, "keep_epochs": [1001]}}
    problem = refused(
        lambda: overridden(rooms, {"double_descent": {"laptop": {"variants": {"a~1": variant}}}})
    )
    assert "variants.a~1.training.keep_epochs: epoch 1001 lies beyond max_epochs, 1000" in problem


def test_a_study_may_name_widths_that_an_override_no_longer_trains(rooms):
    config = overridden(rooms, {"double_descent.laptop.widths": [16, 32]})
    assert 256 in config.studies["distribution"]["laptop"].widths


@pytest.mark.parametrize("names", [("depth", "double_descent"), ("double_descent", "depth")])
def test_the_order_of_overrides_does_not_matter(rooms, names):
    config = overridden(rooms, {name: {"laptop": {"seeds": 2}} for name in names})
    assert {config.trainings[name]["laptop"].seeds for name in names} == {2}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("scale: smoke\nseed: 1\nscale: paper\n", ", line 3: scale: is stated twice, first in line 1"),
        ("a: {b: 1, c: {d: 1, d: 2}}\n", ", line 1: d: is stated twice"),
        ("1: a\n'1': b\n", ", line 2: 1: is stated twice"),
        ('{"a": 1,\n\t"a": 2}', ": a: is stated twice; remove one"),
        ("a.b: 1\na: {b: 2}\n", ": a.b: is stated twice, nested and with dots"),
        ("__use_yte__: true\nscale: smoke\n", ": __use_yte__: would have Snakemake run the Python"),
        ("a: 1\nb: [\n", ", line 3: is no YAML"),
        ("a: 1\n\tb: 2\n", ", line 2: is no YAML"),
        ("a: 1\nb: !!int x\n", ", line 2: has a value that cannot be read"),
        ("a: 1\nb: 2001-99-99\n", ", line 2: has a value that cannot be read"),
        ("a: " + "9" * 5000, ", line 1: has a value that cannot be read"),
        ("a: !!python/object:os.system x", ", line 1: is no YAML"),
        ("a: &a {b: *a}", "stand within each other"),
        ("a: " + "[" * 100_000, "stand within each other"),
        ("a:\n" + "- " * 100_000, "stand within each other"),
        ("- 1\n", ": must be a mapping"),
        ("", ": must be a mapping"),
        (b"a: 1\nb: \xe9\n", ", line 2: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        (TEXTS[-1], ": has more than 100000 values"),
        ("? 2001-01-01\n: 1\n", "is no name of a setting"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_line(tmp_path, content, words):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    problem = refused(lambda: check_stated_once(read_mapping(path, "mine.yaml"), "mine.yaml"))
    assert problem.startswith(f"mine.yaml{words}" if words[0] in ",:" else "mine.yaml")
    assert words in problem


def test_files_are_read_before_snakemake_does(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("scale: smoke\nscale: paper\n")
    settings = SimpleNamespace(configfiles=[mine], config={})
    workflow = SimpleNamespace(is_main_process=True, config_settings=settings)
    with pytest.raises(WorkflowError, match=re.escape(f"{mine}, line 2: scale: is stated twice")):
        check_files(workflow, str(ROOT / "config.yaml"), ROOT)
    settings.configfiles = []
    check_files(workflow, str(ROOT / "config.yaml"), ROOT)
    settings.config = {"overrides": {"toy.smoke.steps": 1, "toy": {"smoke": {"steps": 2}}}}
    with pytest.raises(WorkflowError, match=r"toy\.smoke\.steps: is stated twice"):
        check_files(workflow, str(ROOT / "config.yaml"), ROOT)


def test_a_broken_file_of_the_command_line_is_refused_by_snakemake(tmp_path):
    """Which reads it before this project runs."""
    mine = tmp_path / "mine.yaml"
    mine.write_text("scale: smoke\n\tb: [1\n")
    with pytest.raises(WorkflowError, match="Config file is not valid JSON or YAML"):
        load_configfile(mine)


def test_a_folder_with_braces_is_refused(tmp_path):
    with pytest.raises(WorkflowError, match=r"lies in /a/\{b\}, and .* a name without \{"):
        check_folders(Path("/a/{b}"), tmp_path)


@pytest.mark.parametrize("which", ["project", "results"])
def test_a_folder_that_the_locale_cannot_spell_is_refused(which, tmp_path):
    folders = {"project": tmp_path, "results": tmp_path} | {which: Path("/a/b\udcc3\udcbc")}
    with pytest.raises(SystemExit, match=r"'/a/b\\udcc3\\udcbc' has letters .* LC_ALL=C.UTF-8"):
        check_folders(folders["project"], folders["results"])


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path, monkeypatch):
    check_folders(tmp_path / "ü", tmp_path)
    monkeypatch.setattr("os.access", lambda folder, mode: mode != os.W_OK)
    with pytest.raises(WorkflowError, match=rf"{tmp_path} cannot be written .* -s '?/a/b c/Snakefile"):
        check_folders(Path("/a/b c"), tmp_path)


def a_call(top, study):
    """A call of Snakemake that runs one study, and the set-up that it has."""
    job = SimpleNamespace(rule=SimpleNamespace(name="study"), wildcards=SimpleNamespace(study="times"))
    workflow = SimpleNamespace(
        is_main_process=True,
        local_exec=True,
        deployment_settings=SimpleNamespace(deployment_method=set()),
        config_settings=SimpleNamespace(configfiles=[], config={"device": top}),
        dag=SimpleNamespace(needrun_jobs=lambda: [job]),
    )
    config = SimpleNamespace(
        scale="smoke", top=SimpleNamespace(device=top), study=lambda _: SimpleNamespace(device=study)
    )
    return workflow, SimpleNamespace(config=config)


@pytest.mark.parametrize(
    ("top", "study", "words"),
    [
        ("cuda", "cpu", "--config: device: cuda is asked for, but torch finds no CUDA device"),
        ("auto", "cuda", "times.smoke.device: cuda is asked for"),
    ],
)
def test_a_gpu_that_is_not_there_is_noticed_before_jobs_start(monkeypatch, top, study, words):
    monkeypatch.setattr(machine, "_has_none", lambda: True)
    with pytest.raises(WorkflowError, match=words):
        machine.check_device(*a_call(top, study))
    machine.check_device(*a_call("auto", "auto"))
    monkeypatch.setattr(machine, "_has_none", lambda: False)
    machine.check_device(*a_call(top, study))


def test_data_sets_have_as_many_points_as_they_say():
    from mnist1d.data import get_dataset_args

    arguments = get_dataset_args()
    drawn = round(arguments.num_samples * arguments.train_split)
    assert parts.stated("data", "mnist1d", "TRAINING_POINTS") == drawn == 4000
    for name in parts.names("data"):
        said = f"{parts.stated('data', name, 'TRAINING_POINTS'):,} + "
        about = Path(parts.ROOT / "data" / f"{name}.py").read_text().splitlines()[0]
        assert said.replace(",", "") in about.replace(",", "")
    assert parts.stated("data", "mnist", "NOTHING") is None
    assert set(SETUPS) <= {path.stem for path in (ROOT / "scripts/papers").glob("*/setups/*.yaml")}
