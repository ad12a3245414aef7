"""estimate_bounds and collect: from checkpoints and summaries to the tidy table."""

import argparse
import math

import pandas as pd
import pytest
import torch
import yaml
from tests.conftest import ROOT, write_tensors
from torch.nn.utils import parameters_to_vector

import collect
import estimate_bounds
from lipbounds.bounds import LowerBound, UpperBound, upper_bound
from lipbounds.jacobian import jacobian_norms
from nets.models.fcn import seeded_fcn
from pipeline.config.loading import load_config
from pipeline.jobs.command import CommandError
from pipeline.jobs.packing import packed, unpacked
from pipeline.provenance.files import write_arrays, write_json


@pytest.fixture
def files(tmp_path):
    """A run of width 8 with two seeds; the second one diverged after initialisation."""
    points = {"x_train": torch.randn(50, 40), "x_test": torch.randn(20, 40)}
    classes = {"y_train": torch.arange(50) % 10, "y_test": torch.arange(20) % 10}
    write_arrays(tmp_path / "arrays", {k: v.numpy() for k, v in (points | classes).items()})
    models = {(0, 0): 1, (0, 30): 2, (1, 0): 3}
    models = {place: seeded_fcn(seed, 40, [8], 10) for place, seed in models.items()}
    write_tensors(
        tmp_path / "checkpoints",
        {
            f"seed~{seed}/epoch~{epoch}/{name}": weight
            for (seed, epoch), model in models.items()
            for name, weight in model.state_dict().items()
        },
        {"shape": [40], "classes": 10},
    )
    stops = [("gradient_norm", 30, 0.1), ("diverged", 10, math.nan)]
    write_json(
        tmp_path / "run.json",
        {
            "width": 8,
            "parameters": 400,
            "settings": {"training": {"regularisation": None}},
            "seeds": [
                {"seed": seed, "stop_reason": reason, "epochs": epochs, "gradient_norm": loss}
                | dict.fromkeys(("train_loss", "train_error", "test_loss", "test_error"), loss)
                for seed, (reason, epochs, loss) in enumerate(stops)
            ],
        },
    )
    rows = [(0, 0, 2.3), (0, 30, 0.1), (1, 0, 2.4)]
    losses = dict.fromkeys(("train_error", "test_loss", "test_error", "gradient_norm"), 0.5)
    history = pd.DataFrame([{"seed": s, "epoch": e, "train_loss": v} | losses for s, e, v in rows])
    history.to_csv(tmp_path / "history.csv", index=False)
    job = load_config(yaml.safe_load((ROOT / "config.yaml").read_text())).bounds_job("double_descent")
    estimate_bounds.main(
        argparse.Namespace(
            arrays=tmp_path / "arrays",
            checkpoints=tmp_path / "checkpoints",
            width=8,
            settings=job.model_dump_json(),
            code="c0de",
            device="cpu",
            threads=1,
            bounds=tmp_path / "bounds.csv",
        )
    )
    return tmp_path, points, models


def test_every_checkpoint_and_point_set_has_a_row_that_says_what_it_is(files):
    folder, points, models = files
    rows = pd.read_csv(folder / "bounds.csv")
    assert len(rows) == len(models) * len(points)
    for _, row in rows.iterrows():
        model, x = models[row["seed"], row["epoch"]], points[f"x_{row['points']}"]
        norms = jacobian_norms(model, x)
        assert row["c_lower"] == norms.max()
        assert row["c_avg"] == norms.mean()
        assert row["worst_point"] == norms.argmax()
        assert row["number_of_points"] == len(x)
        assert row["log10_c_upper"] == upper_bound(model, (40,)).log10
    constant = ["ord", "dtype", "upper_kind", "upper_certified", "upper_method", "lower_kind", "code"]
    assert rows[constant].drop_duplicates().values.tolist() == [
        [2, "float32", "upper", True, "autolip", "lower", "c0de"]
    ]
    assert (rows[["upper_seconds", "lower_seconds"]] > 0).all(axis=None)


def collected(folder, run="noise~0"):
    """Both tables of the run in ``folder``."""
    collect.main(
        argparse.Namespace(
            runs=packed([(run, str(folder))]),
            table=folder / "t.csv",
            epochs=folder / "t_epochs.csv",
        )
    )
    return pd.read_csv(folder / "t.csv"), pd.read_csv(folder / "t_epochs.csv")


@pytest.mark.parametrize(
    ("name", "column", "lost", "words"),
    [
        ("bounds.csv", "points", "test", "no bounds of seed 0 after 30 epochs"),
        ("bounds.csv", "epoch", 30, "no bounds of seed 0 after 30 epochs"),
        ("bounds.csv", "seed", 1, "no bounds of seed 1"),
        ("history.csv", "epoch", 30, "no losses of seed 0 after 30 epochs"),
    ],
)
def test_rows_that_are_missing_stop_the_join(files, name, column, lost, words):
    folder, _, _ = files
    rows = pd.read_csv(folder / name)
    of_a_stop = rows["epoch"] == rows.groupby("seed")["epoch"].transform("max")
    rows[(rows[column] != lost) | ~of_a_stop].to_csv(folder / name, index=False)
    with pytest.raises(CommandError, match=f"is not whole: {words}"):
        collected(folder)


@pytest.mark.parametrize("number", [1, 10_000])
def test_ten_thousand_runs_fit_on_a_command_line(number):
    folder = "results/paper/some_sweep/penalty~1000/noise~20/width~{}"
    runs = [("penalty~1000/noise~20", folder.format(width)) for width in range(number)]
    assert unpacked(packed(runs)) == [list(run) for run in runs]
    assert len(packed(runs)) < 100_000


def test_table_takes_each_seed_at_its_stop(files):
    folder, _, _ = files
    table, _ = collected(folder)
    assert list(zip(table["seed"], table["points"], strict=True)) == [
        (0, "test"),
        (0, "train"),
        (1, "test"),
        (1, "train"),
    ]
    bounds = pd.read_csv(folder / "bounds.csv").set_index(["seed", "epoch", "points"])
    stopped = table.set_index(["seed", "points"]).loc[(0, "train")]
    assert stopped["c_lower"] == bounds.loc[(0, 30, "train"), "c_lower"]
    assert stopped["epochs"] == 30
    lost = table[table["seed"] == 1]
    assert lost["stop_reason"].unique() == ["diverged"]
    assert lost[["c_lower", "c_avg", "c_rms", "log10_c_upper"]].isna().all(axis=None)


def test_a_second_table_has_every_checkpoint_with_its_losses(files):
    folder, _, models = files
    _, epochs = collected(folder, "layers~2/noise~20")
    assert len(epochs) == 2 * len(models)
    assert epochs["variant"].unique() == ["layers~2"]
    assert epochs["noise"].unique() == [20]
    losses = epochs.groupby(["seed", "epoch"])["train_loss"].first().to_dict()
    assert losses == {(0, 0): 2.3, (0, 30): 0.1, (1, 0): 2.4}


def test_distances_are_those_between_checkpoints(files):
    folder, _, models = files
    rows = pd.read_csv(folder / "bounds.csv").drop_duplicates(["seed", "epoch"])
    rows = rows.set_index(["seed", "epoch"])[["parameter_distance", "distance_from_start"]]
    assert (rows.loc[[(0, 0), (1, 0)]] == 0).all(axis=None)
    first, last = (parameters_to_vector(models[0, e].parameters()).detach().double() for e in (0, 30))
    assert rows.loc[(0, 30)].tolist() == pytest.approx([float((last - first).norm())] * 2, rel=1e-12)


def test_variants_are_in_the_order_of_their_numbers():
    names = pd.Series(["points~4000", "points~500", "points~1000"], name="variant")
    assert list(names.iloc[collect._natural(names).argsort()]) == [
        "points~500",
        "points~1000",
        "points~4000",
    ]


def bounds_with(mean, rms, largest, upper):
    lower = LowerBound(max=largest, mean=mean, rms=rms, argmax=0)
    return lower, UpperBound(math.log10(upper), upper, "upper", True, (), "autolip")


def test_impossible_order_of_bounds_stops_the_job_with_both_numbers():
    estimate_bounds._check_order(*bounds_with(1.0, 1.0, 1.0 + 1e-8, 1.0), "here")
    for numbers, words in (
        ((1.0, 2.0, 5.0, 4.9), "C_lower = 5.0 exceeds C_upper = 4.9"),
        ((1.0, 2.0, 1.5, 9.0), "C_rms = 2.0 exceeds C_lower = 1.5"),
        ((3.0, 2.0, 4.0, 9.0), "C_avg = 3.0 exceeds C_rms = 2.0"),
        ((math.nan, 2.0, 4.0, 9.0), "C_avg = nan"),
    ):
        with pytest.raises(CommandError, match=f"seed 3, epoch 7.*{words}"):
            estimate_bounds._check_order(*bounds_with(*numbers), "seed 3, epoch 7")
