"""What studies are handed as data."""

from collections.abc import Mapping

from torch import Tensor

Arrays = dict[str, Tensor]
"""Prepared arrays by name, x_train and the like; of several data sets DATASET/NAME."""


def together(sets: Mapping[str, Arrays]) -> Arrays:
    """The arrays of the data ``sets``, by their names, as a study is handed them."""
    if len(sets) == 1:
        return next(iter(sets.values()))
    return {f"{which}/{name}": array for which, own in sets.items() for name, array in own.items()}
