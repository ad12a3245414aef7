"""How claims judge the slopes of lines that figures have fitted."""

import math
from collections.abc import Mapping
from typing import Any

from pipeline.claims.findings import Finding, judge_fact


def judge_slope(
    fits: Mapping[str, Mapping[str, Any]],
    name: str,
    least: float = -math.inf,
    most: float = math.inf,
) -> Finding:
    """The finding on the slope of a fit of :mod:`pipeline.statistics.growth` by its name.

    There are no fits where there was nothing to fit.
    """
    if name not in fits:
        return Finding("not tested", reason="too few values for a fitted line")
    fit = fits[name]
    return judge_fact({"estimate": fit["slope"]} | dict(fit), least, most)
