"""The constant in the parameters along training."""

import math

import pytest
import torch

from papers.khromov_singh_2024.theory_bounds import study
from tests.papers.training_runs import NETS, PLACES, made_up_arrays, made_up_run


@pytest.mark.usefixtures("single_threaded")
def test_constant_in_the_parameters_and_its_running_maximum(tmp_path):
    arrays = made_up_arrays()
    table = study.study(study.Settings(), arrays, [made_up_run(tmp_path / "run", "theory")])
    x = arrays["x_train"]
    for (seed, epoch), net in NETS.items():
        row = table[(table["seed"] == seed) & (table["epoch"] == epoch)].iloc[0]
        norms = []
        for point in x:
            outputs = net(point[None])[0]
            rows = [torch.autograd.grad(o, list(net.parameters()), retain_graph=True) for o in outputs]
            jacobian = torch.stack([torch.cat([g.flatten() for g in grads]) for grads in rows])
            norms.append(torch.linalg.matrix_norm(jacobian.double(), 2).item())
        assert row["c_theta"] == pytest.approx(max(norms), rel=1e-5)
        before = table[(table["seed"] == seed) & (table["epoch"] <= epoch)]["c_theta"]
        assert row["c_theta_running"] == before.max()
    longest = max(math.dist(a.tolist(), b.tolist()) for a in x for b in x)
    assert table["diameter"].tolist() == pytest.approx([longest] * len(PLACES))
