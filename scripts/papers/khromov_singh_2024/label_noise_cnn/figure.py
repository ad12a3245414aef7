"""The largest Jacobian norm and the test loss of convolutional nets over width and label noise."""

import pandas as pd
from matplotlib.figure import Figure

from pipeline.claims.claim import Again
from pipeline.figures.noise_map import draw_noise, noise_facts
from pipeline.figures.room import Context, Facts, Tables
from pipeline.figures.width import prepared

_DAY = "2026-11-28"

C14, C15, C17 = (
    Again(name, on="CIFAR-10", reported="no number", since=_DAY) for name in ("C14", "C15", "C17")
)

C16 = Again(
    "C16",
    on="CIFAR-10",
    reported="no number",
    since=_DAY,
    changes={
        "2026-11-29": "one seed whose peak stays at one width counts 0, as the rule says; before, it "
        "left the mean over seeds without a number."
    },
)


def joined(tables: Tables) -> pd.DataFrame:
    """The runs with noise, and of those without the same widths and as many seeds."""
    clean, noisy = (prepared(tables[name]) for name in ("cnn_cifar10", "label_noise_cnn"))
    shared = clean["width"].isin(noisy["width"].unique()) & clean["seed"].isin(noisy["seed"].unique())
    return pd.concat([clean[shared], noisy], ignore_index=True)


def measure(tables: Tables, context: Context) -> Facts:
    """Peaks along the width for each noise and along the noise for each width, and what moves them."""
    return noise_facts(joined(tables))


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Heat maps above, cuts through them, and where along the width each row peaks."""
    settings = context["settings"]["label_noise_cnn"]
    return draw_noise(joined(tables), facts, {**context, "settings": settings})
