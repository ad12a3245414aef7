"""The training command line as a process: killed, resumed, refused."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipeline.config.loading import load_config
from pipeline.config.training import identity

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
OUTPUTS = ("checkpoints.safetensors", "history.csv", "run.json")


def script(name, *arguments):
    return [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *map(str, arguments)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    arrays, labels = folder / "arrays.safetensors", folder / "labels.safetensors"
    made = ["--arrays", arrays]
    subprocess.run(
        script("prepare_data", "--dataset", "mnist1d", *made, "--manifest", folder / "m.json"),
        check=True,
    )
    noise = ["--kind", "pair_swap", "--percent", 20, "--seed", 42]
    subprocess.run(script("inject_noise", *made, *noise, "--labels", labels), check=True)
    return ["--arrays", arrays, "--labels", labels]


NETS = {
    "stacked": {},
    "plain": {
        "model": {"name": "cnn", "batch_norm": True},
        "optimizer": {"name": "sgd", "momentum": 0.9, "weight_decay": 0.001},
        "augmentation": {"name": "crop", "padding": 2, "flip": True},
        "shuffle": True,
        "learning_rate": 0.01,
        "max_epochs": 5,
        "min_epochs": 2,
        "keep_epochs": [2],
        "record_every": 1,
    },
}
"""One training for each ensemble; the second has all in play that must survive a kill."""


def settings(**training):
    model = training.pop("model", None)
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    raw["scale"] = "smoke"
    changed = {
        "max_epochs": 800,
        "record_every": 50,
        "keep_epochs": [100],
        "target_gradient_norm": 1e-9,
    } | training
    raw["overrides"] = {"double_descent.smoke.training": changed}
    if model is not None:
        raw["overrides"]["double_descent.smoke.model"] = model
    return identity(load_config(raw).training_job("double_descent"))


def command(data, folder, *extra, **training):
    outputs = zip(("--checkpoints", "--history", "--summary"), OUTPUTS, strict=True)
    return script(
        "train",
        *data,
        "--width",
        4 if "model" in training else 16,
        "--settings",
        settings(**training),
        "--save-every",
        0.1,
        "--log",
        folder / "log",
        *(part for option, name in outputs for part in (option, folder / name)),
        *extra,
    )


def contents(folder):
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


def train(data, folder, *extra, **training):
    return subprocess.run(
        command(data, folder, *extra, **training),
        text=True,
        capture_output=True,
        check=False,
        timeout=120,
    )


def start_and_wait_for_a_save(data, folder, **training):
    process = subprocess.Popen(command(data, folder, **training), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(folder.glob(".resume-*.state")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "no saved state appeared"
        time.sleep(0.01)
    return process


@pytest.fixture(scope="module")
def all_uninterrupted(data, tmp_path_factory):
    found = {}
    for name, training in NETS.items():
        folder = tmp_path_factory.mktemp(name)
        done = train(data, folder, **training)
        assert done.returncode == 0, done.stderr
        assert json.loads((folder / "run.json").read_text())["ensemble"] == name
        found[name] = contents(folder)
    return found


@pytest.fixture
def uninterrupted(all_uninterrupted):
    return all_uninterrupted["stacked"]


def test_nothing_but_the_outputs_is_left(data, uninterrupted, tmp_path):
    assert train(data, tmp_path).returncode == 0
    seals = {f".{name}.seal" for name in OUTPUTS}
    assert {p.name for p in tmp_path.iterdir()} == {*OUTPUTS, *seals, "log", ".lock"}
    assert contents(tmp_path) == uninterrupted, "the same call gives the same bytes"


@pytest.mark.parametrize("nets", NETS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_interrupted_run_ends_with_the_same_bytes(data, all_uninterrupted, tmp_path, number, nets):
    process = start_and_wait_for_a_save(data, tmp_path, **NETS[nets])
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert not (tmp_path / "run.json").exists()
    assert train(data, tmp_path, **NETS[nets]).returncode == 0
    assert "going on from epoch" in (tmp_path / "log").read_text()
    assert contents(tmp_path) == all_uninterrupted[nets]


@pytest.mark.parametrize("nets", NETS)
def test_killed_again_and_again(data, all_uninterrupted, tmp_path, nets):
    for _ in range(3):
        process = subprocess.Popen(
            command(data, tmp_path, **NETS[nets]), stderr=subprocess.DEVNULL, text=True
        )
        state, before = None, read_state(tmp_path)
        while process.poll() is None and (state := read_state(tmp_path)) == before:
            time.sleep(0.002)
        process.kill()
        process.wait()
        if state == before:  # it had ended
            break
    assert train(data, tmp_path, **NETS[nets]).returncode == 0
    assert contents(tmp_path) == all_uninterrupted[nets]


def read_state(folder):
    try:
        return [path.read_bytes() for path in folder.glob(".resume-*.state")]
    except FileNotFoundError:
        return None


def test_damaged_state_is_named_and_replaced(data, uninterrupted, tmp_path):
    process = start_and_wait_for_a_save(data, tmp_path)
    process.kill()
    process.communicate()
    (state,) = tmp_path.glob(".resume-*.state")
    state.write_bytes(state.read_bytes()[:-100])
    assert train(data, tmp_path).returncode == 0
    log = (tmp_path / "log").read_text()
    assert f"{state} is damaged" in log
    assert "going on from" not in log
    assert contents(tmp_path) == uninterrupted


def test_orphan_hands_its_work_over(data, tmp_path):
    orphan = start_and_wait_for_a_save(data, tmp_path, max_epochs=8000)
    assert train(data, tmp_path, max_epochs=8000).returncode == 0
    orphan.communicate(timeout=30)
    assert orphan.returncode == 128 + signal.SIGTERM
    log = (tmp_path / "log").read_text()
    assert "left over from an interrupted call" in log
    saved = int(log.split("saved epoch ")[1].split()[0])
    assert f"going on from epoch {saved}" in log
    assert all((tmp_path / name).exists() for name in OUTPUTS)


def test_changed_settings_do_not_go_on_from_an_old_state(data, tmp_path):
    process = start_and_wait_for_a_save(data, tmp_path)
    process.kill()
    process.communicate()
    assert train(data, tmp_path, learning_rate=0.3).returncode == 0
    assert "going on from" not in (tmp_path / "log").read_text()
    assert not list(tmp_path.glob(".resume-*"))


def test_divergence_is_a_result_and_not_a_failure(data, tmp_path):
    done = train(data, tmp_path, learning_rate=1e38, clip_norm=None)
    assert done.returncode == 0, done.stderr
    seeds = json.loads((tmp_path / "run.json").read_text())["seeds"]
    assert [s["stop_reason"] for s in seeds] == ["diverged", "diverged"]


def test_batch_larger_than_the_data_says_so(data, tmp_path):
    done = train(data, tmp_path, batch_size=9000, min_epochs=0, max_epochs=3, keep_epochs=[])
    assert done.returncode == 0
    assert "training.batch_size is 9000 and there are 4000 points" in done.stderr


def test_missing_gpu_is_explained(data, tmp_path):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command(data, tmp_path, "--device", "cuda"),
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert "device: cuda is asked for" in done.stderr
    assert "Traceback" not in done.stderr


def test_full_disk_while_saving_loses_nothing_that_was_saved(data, uninterrupted, tmp_path):
    process = start_and_wait_for_a_save(data, tmp_path)
    process.kill()
    process.communicate()
    (state,) = tmp_path.glob(".resume-*.state")
    before = state.read_bytes()

    def no_room():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, resource.RLIM_INFINITY))

    done = subprocess.run(
        command(data, tmp_path), text=True, capture_output=True, check=False, preexec_fn=no_room
    )
    assert done.returncode == 1
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr
    assert state.read_bytes() == before
    assert train(data, tmp_path).returncode == 0
    assert contents(tmp_path) == uninterrupted


def test_progress_is_one_line_in_the_log_and_quiet_in_ci(data, tmp_path):
    fast = ("--progress-every", 0.1)
    done = subprocess.run(
        command(data, tmp_path, *fast),
        env=os.environ | {"CI": "true"},
        text=True,
        capture_output=True,
        check=True,
    )
    assert done.stderr == ""
    line = next(line for line in (tmp_path / "log").read_text().splitlines() if "gradient" in line)
    for part in ("width 16", "epoch", "/800", "loss", "gradient", "left"):
        assert part in line
    (tmp_path / "run.json").unlink()
    seen = subprocess.run(
        command(data, tmp_path, *fast),
        env={k: v for k, v in os.environ.items() if k != "CI"},
        text=True,
        capture_output=True,
        check=True,
    )
    assert "at most" in seen.stderr
