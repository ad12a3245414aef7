"""What float32 models compute with: weights and values that are wrong by more than float64 shows."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from lipbounds.bounds import upper_bound
from lipbounds.graph import export
from lipbounds.maps import Known
from lipbounds.operators import Analysis

pytestmark = pytest.mark.usefixtures("single_threaded")


class Single(nn.Module):
    """A float32 model, whose forward is a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.function(x)


RESAMPLINGS = [
    {"mode": "bilinear", "scale_factor": (1.37, 1.0)},
    {"mode": "bilinear", "scale_factor": (0.731, 1.0)},
    {"mode": "bilinear", "scale_factor": (1.37, 1.0), "align_corners": True},
    {"mode": "bicubic", "scale_factor": (1.37, 1.0)},
    {"mode": "bilinear", "scale_factor": (0.37, 1.0), "antialias": True},
    {"mode": "bicubic", "scale_factor": (0.37, 1.0), "antialias": True},
]


@pytest.mark.parametrize("size", [30, 1001])
@pytest.mark.parametrize("options", RESAMPLINGS)
def test_weights_of_resampling(size, options):
    """They are wrong by up to n times the rounding of a float32, which bound and deviation cover."""

    def run(x):
        return functional.interpolate(x, **options)

    units = torch.eye(size).view(size, 1, size, 1).expand(-1, -1, -1, 2).contiguous()
    used, meant = (run(x).double()[:, 0, :, 0] for x in (units, units.double()))
    model = Single(run).eval()
    exact = torch.linalg.matrix_norm(used, 2).item()
    slack = 2e-5 if options.get("antialias") else 3e-6
    assert exact <= upper_bound(model, (1, size, 2)).value <= exact * (1 + slack * (size + 100))
    graph, _ = export(model, (1, size, 2))
    analysis = Analysis(graph)
    analysis.run()
    ((term,),) = [analysis.values[node].terms for node in graph.outputs]
    (known,) = [step.map for step in term.steps if isinstance(step.map, Known)]
    assert torch.linalg.matrix_norm(used - meant, 2).item() <= known.deviation
    assert not math.isinf(known.deviation)


FUNCTIONS = {
    "exp": torch.exp,
    "expm1": torch.expm1,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "sigmoid": torch.sigmoid,
    "softplus": functional.softplus,
    "log": lambda x: torch.log(4 + x),
    "log1p": lambda x: torch.log1p((x + 4) / 2),
    "rsqrt": lambda x: torch.rsqrt(x + 4),
    "atan": torch.atan,
    "gelu": functional.gelu,
    "mish": functional.mish,
    "elu": functional.elu,
}


@pytest.mark.parametrize("radius", [0.25, 1.75, 3.875])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_of_library_functions_lie_in_their_range(name, radius):
    model = Single(FUNCTIONS[name]).eval()
    graph, _ = export(model, (1,))
    analysis = Analysis(graph, radius=radius)
    analysis.run()
    (output,) = graph.outputs
    range_ = analysis.ranges.of(output)
    values = model(torch.linspace(-radius, radius, 100_001).unsqueeze(1)).double()
    assert range_.low <= values.min().item()
    assert values.max().item() <= range_.high
    # and in the range that is proved, without the value at the centre
    proved = analysis.ranges._structural(output)
    assert proved.low <= values.min().item() <= values.max().item() <= proved.high
