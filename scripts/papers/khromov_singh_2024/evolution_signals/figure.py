"""The growth of the bounds of convolutional nets on signals during training."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, combine
from pipeline.claims.slopes import judge_slope
from pipeline.figures.late_growth import draw_growth, growth_facts
from pipeline.figures.looks import corner_note
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.figures.width import JUDGED
from pipeline.statistics.growth import training_rows

ELSEWHERE = ("ResNet-50", "transformers")
"""Nets of the claim that are not here."""


def measure(tables: Tables, context: Context) -> Facts:
    """Slopes of all bounds from the epoch on from which nets fit, beside the paper's."""
    return growth_facts(training_rows(only(tables)), context["printed"])


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Bounds on the left, errors on the right."""
    data = training_rows(only(tables))
    figure, (bounds, errors) = plt.subplots(
        1, 2, figsize=(6.9, 3.0), layout="constrained", width_ratios=(1.35, 1)
    )
    draw_growth(bounds, errors, data, facts)
    bounds.set_title("a")
    errors.set_title("b")
    corner_note(
        figure,
        f"{context['scale']} scale, width {data['width'].iloc[0]}, {data['seed'].nunique()} seeds, "
        "band: ±1 std; dashed: fits",
    )
    return figure


@claim(
    "C3",
    "They also grow in convolutional nets, ResNet-50 and transformers",
    reported="slopes 0.29 (CNN), 0.49 (ResNet-50)",
    unit="slope of C_lower, CNN",
    refuted="A bound no longer grows once a convolutional net fits the training points",
    untested="Fewer than three kept epochs have a mean training error of at most 5 %. ResNet-50 and "
    "transformers, which need ImageNet, are not tested at all, so that the claim can hold in part only",
    since="2026-11-28",
    changes={
        "2026-11-28": "the nets, not the rule: at twice the learning rate one of three seeds lost its "
        "fit for a while, and the slopes of 0.76 to 1.15 had intervals across 0"
    },
)
def grows_in_other_nets(facts: Facts) -> Finding:
    """Slope of the log of each bound on the log of the epoch, from the first kept epoch on at which the
    mean training error is at most 5 %, of convolutional nets of four layers: on MNIST-1D over one axis,
    in the paper over two and on CIFAR-10. A part holds if its interval lies above 0."""
    parts = {
        f"{word}, CNN": judge_slope(facts["slopes"], name, least=0) for name, word in JUDGED.items()
    }
    missing = {net: Finding("not tested", reason="needs ImageNet") for net in ELSEWHERE}
    return combine(parts | missing)
