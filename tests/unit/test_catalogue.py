"""Which runs there are, and that equal ones are trained once."""

import json

import numpy as np
import pytest
import torch
import yaml
from tests.conftest import ROOT, write_tensors

from nets.models.fcn import seeded_fcn
from nets.training.points import Points, training_subset
from pipeline.config.loading import load_config
from pipeline.config.training import identity
from pipeline.jobs.packing import unpacked
from pipeline.runs.catalogue import Catalogue
from pipeline.runs.run import Run
from pipeline.snakemake.setup import WorkflowSetup

RAW = yaml.safe_load((ROOT / "config.yaml").read_text())


@pytest.fixture(params=["paper", "laptop", "smoke"])
def config(request):
    return load_config(RAW | {"scale": request.param})


def folders(catalogue, experiment):
    return {run["name"]: run["folder"] for run in catalogue.runs(experiment)}


def test_runs_in_one_folder_are_one_training(config):
    catalogue = Catalogue(config)
    jobs = {}
    for name in config.trainings:
        for run in catalogue.runs(name):
            own = name if run["variant"] == "base" else f"{name}/{run['variant']}"
            job = (
                identity(config.training_job(own)),
                identity(config.bounds_job(own)),
                run["labels"],
                run["width"],
            )
            assert jobs.setdefault(run["folder"], job) == job
    assert len(set(jobs.values())) == len(jobs)


def test_experiments_share_what_they_state_alike(config):
    catalogue = Catalogue(config)
    root = f"results/{config.scale}"
    width = config.setup("sample_size").widths[0]
    whole = folders(catalogue, "sample_size")["points~4000/noise~0"]
    assert whole == f"{root}/double_descent/noise~0/width~{width}"
    part = folders(catalogue, "sample_size")["points~100/noise~0"]
    assert part.startswith(f"{root}/sample_size/points~100/")
    orders = folders(catalogue, "seed_sources")
    assert "/double_descent/" in orders["order~0/noise~0"]
    assert "/seed_sources/" in orders["order~1/noise~0"]


def test_at_the_scale_of_the_paper_one_net_serves_three_figures():
    catalogue = Catalogue(load_config(RAW | {"scale": "paper"}))
    own = "results/paper/double_descent/noise~0/width~256"
    assert folders(catalogue, "evolution") == {"noise~0": own}
    assert folders(catalogue, "optimizer")["adam~0/noise~0"] == own
    assert folders(catalogue, "sample_size")["points~4000/noise~0"] == own


def test_every_study_of_runs_has_some(config):
    setup = WorkflowSetup(config)
    for study, about in config.about_studies.items():
        runs = unpacked(setup.study_runs(study))
        assert bool(runs) == bool(about.runs), study
        for run in runs:
            assert ("training" in run) == about.untrained
            family = config.setup(run["experiment"]).model.name
            assert Run.model_validate(run).model.name == family


def test_the_subset_is_random_fixed_and_without_repetition():
    points = Points(torch.arange(50.0).view(50, 1), torch.arange(50))
    assert training_subset(points, None) is points
    few = training_subset(points, 20)
    assert few.y.tolist() == np.random.RandomState(42).choice(50, 20, replace=False).tolist()
    assert torch.equal(few.x.squeeze(1).long(), few.y)
    assert len(few.y.unique()) == 20
    with pytest.raises(ValueError, match=r"training_points is 51 and there are 50"):
        training_subset(points, 51)


def test_a_run_knows_where_its_seeds_started_and_stopped(tmp_path):
    nets = {(0, 0): 1, (0, 30): 2, (1, 0): 3, (1, 10): 4}
    nets = {place: seeded_fcn(seed, 6, [4], 3) for place, seed in nets.items()}
    write_tensors(
        tmp_path / "checkpoints",
        {
            f"seed~{seed}/epoch~{epoch}/{name}": weight
            for (seed, epoch), net in nets.items()
            for name, weight in net.state_dict().items()
        },
        {"shape": [6], "classes": 3},
    )
    stops = [(0, "gradient_norm", 30), (1, "diverged", 12)]
    seeds = [{"seed": s, "stop_reason": r, "epochs": e} for s, r, e in stops]
    (tmp_path / "run.json").write_text(json.dumps({"seeds": seeds}))
    run = Run(
        experiment="depth",
        variant="layers~1",
        noise=0,
        width=4,
        model=load_config(RAW).setup("evolution").model,
        training_points=None,
        labels=tmp_path / "none",
        checkpoints=tmp_path / "checkpoints",
        summary=tmp_path / "run.json",
    )
    assert [(c.seed, c.epoch) for c in run.every_checkpoint()] == list(nets)
    assert [(c.seed, c.epoch) for c in run.at_start()] == [(0, 0), (1, 0)]
    (stopped,) = run.at_stop()
    x = torch.randn(5, 6)
    assert (stopped.seed, stopped.epoch) == (0, 30)
    assert torch.equal(stopped.model(x), nets[0, 30](x))
    assert all(weight.requires_grad for weight in stopped.model.parameters())
