"""What the functions of a room take and return."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

Tables = Mapping[str, pd.DataFrame]
"""Tidy tables by name."""

Context = Mapping[str, Any]
"""``scale``, ``settings``, ``departures``, and the paper's numbers as ``printed``."""

Facts = dict[str, Any]
"""Numbers as JSON, measured once: what is drawn, judged and written down."""


def only(tables: Tables) -> pd.DataFrame:
    """The one table of a figure that is made from one."""
    (table,) = tables.values()
    return table
