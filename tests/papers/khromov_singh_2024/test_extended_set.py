"""The largest Jacobian norm over the data and between the points."""

import pandas as pd
import pytest
import torch

from lipbounds.bounds import upper_bound
from papers.khromov_singh_2024.extended_set import study
from tests.papers.training_runs import NETS, jacobian_norm, made_up_arrays, made_up_run

pytestmark = pytest.mark.usefixtures("single_threaded")


def settings(count=20, seeds=1):
    narrow = study.ExtendedSetRuns(epochs=(5,), seeds=seeds, combinations=count)
    return study.Settings(weights=(0.1, 0.5), evolution=narrow, evolution_wide=narrow, seed=0)


def test_extended_set_is_the_union_of_data_and_combinations(tmp_path):
    arrays, run = made_up_arrays(), made_up_run(tmp_path / "run")
    table = study.study(settings(), arrays, [run])
    sets = study.point_sets(settings(), run, arrays)
    names = ["train", "test", "convex_train", "convex_test", "all"]
    for epoch, part in table.groupby("epoch"):
        assert list(part["points"]) == names
        assert list(part["count"]) == [30, 8, 40, 40, 118]
        net = NETS[0, epoch]
        every = []
        for name, row in zip(names[:-1], part.itertuples(), strict=False):
            norms = [jacobian_norm(net, x) for chunk in sets[name]() for x in chunk]
            assert row.maximum == pytest.approx(max(norms), rel=1e-5)
            assert row.mean == pytest.approx(sum(norms) / len(norms), rel=1e-5)
            every += norms
        whole = part.iloc[-1]
        assert whole["maximum"] == pytest.approx(max(every), rel=1e-5)
        assert whole["mean"] == pytest.approx(sum(every) / len(every), rel=1e-5)
        lower = part.iloc[0]["maximum"]
        assert lower <= whole["maximum"] <= upper_bound(net, (6,)).value * (1 + 1e-6)


def test_all_nets_see_the_same_combinations(tmp_path):
    sets = study.point_sets(settings(), made_up_run(tmp_path / "run"), made_up_arrays())
    first, second = (torch.cat(list(sets["convex_train"]())) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first[:20], torch.cat(list(sets["convex_test"]()))[:20])


def test_tables_survive_being_written(tmp_path):
    table = study.study(settings(), made_up_arrays(), [made_up_run(tmp_path / "run")])
    table.to_csv(tmp_path / "table.csv", index=False)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "table.csv"), table)
