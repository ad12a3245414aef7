"""What studies are handed as data."""

from torch import Tensor

Arrays = dict[str, Tensor]
"""Prepared arrays by name."""
