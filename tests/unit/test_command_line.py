import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from tests.conftest import ROOT
from torch import nn

from lipbounds.__main__ import main
from lipbounds.bounds import upper_bound

MODEL = """
from torch import nn

def build():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Dropout(0.5), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))

def number():
    return 3

def unknown():
    return nn.Sequential(nn.FractionalMaxPool2d(2, 2))

def fails():
    raise KeyError("no such layer")

def needs(width):
    return nn.Linear(width, 2)

ready = nn.Linear(2, 2)
five = 5
"""


@pytest.fixture
def model_file(tmp_path):
    path = tmp_path / "shapes_of_models.py"
    path.write_text(MODEL)
    return path


def test_prints_a_table_by_layer_and_the_bound(model_file, tmp_path, capsys):
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.Dropout(0.5), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    ).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    torch.save(model.state_dict(), tmp_path / "w.pt")
    for name in ("w.safetensors", "w.pt"):
        arguments = [f"{model_file}:build", "--input-shape", "1,4,4", "--weights", str(tmp_path / name)]
        assert main(arguments) == 0
        table = capsys.readouterr().out
        expected = upper_bound(model, (1, 4, 4), method="best")
        assert f"Lipschitz constant <= {expected.value:.6g}  (certified upper bound; best" in table
        assert all(word in table for word in ("layer", "Conv2d", "Linear", "upper, certified", "symbol"))
    with_json = [*arguments, "--json", "--method", "autolip"]
    assert main(with_json) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["certified"] is True
    assert content["value"] == upper_bound(model, (1, 4, 4)).value
    assert [layer["name"] for layer in content["layers"]] == ["0", "2", "4"]


def test_gaps_show_the_norms_from_below(model_file, capsys):
    assert main([f"{model_file}:build", "--input-shape", "1,4,4", "--gaps", "--json"]) == 0
    layers = {layer["name"]: layer for layer in json.loads(capsys.readouterr().out)["layers"]}
    for name in ("0", "4"):
        assert 0.5 * layers[name]["norm"]["value"] <= layers[name]["lower"]
        assert layers[name]["lower"] <= layers[name]["norm"]["value"]
    assert layers["2"]["lower"] is None
    assert main([f"{model_file}:build", "--input-shape", "1,4,4", "--gaps"]) == 0
    assert "from below" in capsys.readouterr().out


def test_models_may_be_objects_and_come_from_packages(model_file, capsys):
    assert main([f"{model_file}:ready", "--input-shape", "2"]) == 0
    assert "model  Linear" in capsys.readouterr().out
    assert main(["torch.nn:Identity", "--input-shape", "2,3", "--ord", "inf"]) == 0
    assert "Lipschitz constant <= 1 " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "--input-shape", "2"], "names no function"),
        (["nowhere.py:build", "--input-shape", "2"], "no file nowhere.py"),
        (["{file}:missing", "--input-shape", "2"], "missing"),
        (["{file}:number", "--input-shape", "2"], "returns a int"),
        (["{file}:unknown", "--input-shape", "1,4,4"], "register_rule(FractionalMaxPool2d)"),
        (["{file}:build", "--input-shape", "3,4,4"], "layer 0 (Conv2d) rejects"),
        (
            ["{file}:fails", "--input-shape", "2"],
            "fails ends with KeyError: 'no such layer' ({file}, line",
        ),
        (["{file}:needs", "--input-shape", "2"], "1 required positional argument: 'width'"),
        (["{file}:five", "--input-shape", "2"], "is of type int, and no function or model"),
    ],
)
def test_mistakes_are_one_line_and_exit_status_2(model_file, arguments, message, capsys):
    filled = [argument.replace("{file}", str(model_file)) for argument in arguments]
    assert main(filled) == 2
    error = capsys.readouterr().err
    assert message.replace("{file}", str(model_file)) in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def build(:", "SyntaxError"),
        ("x = undefined", "NameError"),
        ("import nosuch", "No module named"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named(tmp_path, content, message, capsys):
    (tmp_path / "broken_file.py").write_text(content)
    assert main([f"{tmp_path}/broken_file.py:build", "--input-shape", "2"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("name", "save", "message"),
    [
        ("a.pt", lambda path: path.write_bytes(b"garbage"), "a.pt is damaged, or has more than weights"),
        ("a.safetensors", lambda path: path.write_bytes(b"garbage"), "a.safetensors is damaged"),
        ("a.pt", lambda path: torch.save(nn.Linear(2, 2), path), "such as a whole model"),
        ("a.pt", lambda path: torch.save([1], path), "a.pt has a list and no state dict"),
        ("a.pt", lambda path: torch.save({"b": torch.ones(1)}, path), "a.pt does not fit"),
        ("a.pt", lambda path: path.mkdir(), "a.pt"),
        ("a.pt", lambda path: None, "a.pt"),
    ],
    ids=["garbage", "garbage as safetensors", "model", "list", "other names", "folder", "nothing"],
)
def test_weights_that_cannot_be_loaded_are_named(model_file, tmp_path, name, save, message, capsys):
    save(tmp_path / name)
    arguments = [f"{model_file}:build", "--input-shape", "1,4,4", "--weights", str(tmp_path / name)]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--ord", "3", "'3' is not 1, 2 or inf"),
        ("--grid", "0", "'0' is not a positive whole number"),
        ("--input-shape", "2,two", "'two' is not a positive whole number"),
    ],
)
def test_options_that_make_no_sense_are_refused(model_file, option, value, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main([f"{model_file}:ready", "--input-shape", "2", option, value])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "lipbounds", "torch.nn:Identity", "--input-shape", "2,3"],
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
        text=True,
        capture_output=True,
        check=True,
    )
    assert "Lipschitz constant <= 1 " in done.stdout


def test_help_names_the_package(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("usage: python -m lipbounds ")
