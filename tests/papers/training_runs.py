"""A tiny run with checkpoints along training, for studies that follow it."""

import json

import torch
import yaml

from nets.models.fcn import seeded_fcn
from pipeline.config.loading import load_config
from pipeline.runs.run import Run
from tests.conftest import ROOT, write_tensors

RAW = yaml.safe_load((ROOT / "config.yaml").read_text())
PLACES = [(0, 0), (0, 5), (0, 20), (1, 0), (1, 5), (1, 10)]
"""Seed and epoch of each checkpoint."""
PARTS = ("train", "test")
NETS = {place: seeded_fcn(number, 6, [5], 3) for number, place in enumerate(PLACES)}


def made_up_arrays():
    generator = torch.Generator().manual_seed(7)
    return {
        f"x_{part}": torch.randn(n, 6, generator=generator) for part, n in (("train", 30), ("test", 8))
    }


def made_up_run(folder, experiment="evolution", stop="epoch_cap", loss="cross_entropy"):
    """A run whose seed 1 stopped as told, after 10 epochs."""
    model = load_config(RAW).setup("evolution").model.model_copy(update={"output_activation": "relu"})
    folder.mkdir()
    labels = {f"y_{part}": torch.arange(len(made_up_arrays()[f"x_{part}"])) % 3 for part in PARTS}
    write_tensors(folder / "labels", labels)
    write_tensors(
        folder / "checkpoints",
        {
            f"seed~{seed}/epoch~{epoch}/{name}": weight
            for (seed, epoch), net in NETS.items()
            for name, weight in net.state_dict().items()
        },
        {"shape": [6], "classes": 3},
    )
    stops = [(0, "gradient_norm", 20), (1, stop, 10)]
    seeds = [{"seed": s, "stop_reason": r, "epochs": e} for s, r, e in stops]
    summary = {"seeds": seeds, "settings": {"training": {"loss": loss}}}
    (folder / "run.json").write_text(json.dumps(summary))
    return Run(
        experiment=experiment,
        variant="base",
        noise=0,
        width=5,
        model=model,
        training_points=None,
        labels=folder / "labels",
        checkpoints=folder / "checkpoints",
        summary=folder / "run.json",
    )


def jacobian_norm(net, x, *, behind=lambda y: y):
    """By autograd, in float64, as an independent check."""
    exact = seeded_fcn(0, 6, [5], 3).double()
    exact.load_state_dict(net.state_dict())
    jacobian = torch.autograd.functional.jacobian(lambda v: behind(exact(v[None])[0]), x.double())
    return torch.linalg.matrix_norm(jacobian, 2).item()
