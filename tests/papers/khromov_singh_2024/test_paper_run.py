"""The run behind the paper's Table S3, from its own start."""

import numpy as np
import pytest
import torch
from torch import nn

from papers.khromov_singh_2024.paper_run import study
from pipeline.config.loading import load_config
from pipeline.config.training import Training
from tests.papers.training_runs import RAW, jacobian_norm, made_up_arrays, made_up_run


def trained_by_autograd(arrays, epochs, rate=0.5, warmup=4, batch=8):
    """PyTorch's own loop from its own seed, over the permuted points, with a linear warm-up."""
    order = np.random.RandomState(42).choice(30, 30, replace=False)
    x, y = arrays["x_train"][order], (torch.arange(30) % 3)[order]
    with torch.random.fork_rng():
        torch.manual_seed(42)
        first, last = nn.Linear(6, 5, bias=False), nn.Linear(5, 3, bias=False)
    net = nn.Sequential(first, nn.ReLU(), last, nn.ReLU())
    update = 0
    for _ in range(epochs):
        for part_x, part_y in zip(x.split(batch), y.split(batch), strict=True):
            net.zero_grad()
            nn.functional.cross_entropy(net(part_x), part_y).backward()
            with torch.no_grad():
                for weight in net.parameters():
                    weight -= rate * min(1.0, (update + 1) / warmup) * weight.grad
            update += 1
    return net


@pytest.mark.usefixtures("single_threaded")
def test_the_paper_run_is_that_of_a_plain_loop_from_the_same_seed(tmp_path):
    arrays, run = made_up_arrays(), made_up_run(tmp_path / "run")
    smoke = load_config(RAW | {"scale": "smoke"}).setup("evolution").training.model_dump(mode="json")
    schedule = smoke["schedule"] | {"warmup_updates": 4, "drop_epochs": []}
    own = smoke | {"learning_rate": 0.5, "batch_size": 8, "schedule": schedule}
    run.summary.unlink()  # it need not have been trained
    run = run.model_copy(update={"training": Training.model_validate(own)})
    settings = study.Settings(torch_seed=42, permuted=True, epochs=(3, 10))
    table = study.study(settings, arrays, [run])
    assert table["epoch"].tolist() == [0, 3, 10]
    for epoch, found in table.set_index("epoch")["c_lower"].items():
        net = trained_by_autograd(arrays, epoch)
        norms = [jacobian_norm(net, x) for x in arrays["x_train"]]
        assert found == pytest.approx(max(norms), rel=1e-4)
    assert (table["c_pairwise"] <= 10 ** table["log10_c_upper"]).all()
