"""One trial: what the library says of a random model, beside what the model does."""

import copy
import math
import re
import traceback
import warnings
from dataclasses import dataclass

import torch
from torch import nn

from lipbounds.bounds import UnknownLayerError, upper_bound
from tests.fuzz.models import Case
from tests.fuzz.nodes import fault, recorded
from tests.fuzz.truth import Ball, largest_quotient, paired_quotient, without_rounding

_TOLERANCES = {"float64": 1e-6, "float32": 1e-4, "bfloat16": 0.1}
"""The copy in float64 is the model itself where no weight is computed in a shorter type."""

FAILURES = ("violation", "crash")


@dataclass(frozen=True)
class Outcome:
    """``kind`` is certified, upper, estimate, inf, refused, crash or violation; ``said`` the message."""

    kind: str
    said: str = ""
    bound: float = math.nan
    seen: float = math.nan


def tried(case: Case) -> Outcome:
    """The outcome of a case."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with recorded() as analyses:
                found = upper_bound(case.build(), case.shape, **case.options)
            inside = fault(analyses[-1], case.seed) if found.kind == "upper" else ""
        except (ValueError, UnknownLayerError) as error:
            return Outcome("refused", str(error))
        except Exception:
            return Outcome("crash", traceback.format_exc())
        if math.isnan(found.value):
            return Outcome("violation", "the bound is NaN", found.value)
        if inside:
            return Outcome("violation", inside, found.value)
        if found.kind != "upper" or found.value == math.inf:
            return Outcome("inf" if found.value == math.inf else found.kind, "", found.value)
        return _compared(case, found.value, "certified" if found.certified else "upper")


def _compared(case: Case, bound: float, kind: str) -> Outcome:
    if "dtype" in case.traits and case.dtype != "float64":
        return Outcome(kind, "", bound)
    allowed = bound * (1 + _TOLERANCES[case.dtype])
    ball = Ball(case.shape, case.ord, case.radius)
    try:
        best = largest_quotient(_wide(case), ball, case.seed)
        paired = paired_quotient(_wide(case), ball, case.seed)
        if best is not None and best.value > allowed:
            best = without_rounding(_wide(case), ball, best)
    except Exception:
        return Outcome(kind, f"does not run in float64: {traceback.format_exc(limit=-1)}", bound)
    seen = best.value if best is not None else math.nan
    if seen > allowed and best is not None:
        return Outcome("violation", f"at {best.x.tolist()} and {best.y.tolist()}", bound, seen)
    if paired > allowed:
        return Outcome("violation", "two samples at once", bound, paired)
    return Outcome(kind, "", bound, seen)


def _wide(case: Case) -> nn.Module:
    """The model in float64, with the weights that it has in its own type."""
    model = case.build()
    if case.dtype == "float64":
        return model
    try:
        return model.double()
    except RuntimeError:
        return copy.deepcopy(model).double()


def kind_of_refusal(message: str) -> str:
    """A message without names, numbers and places, to count alike ones together."""
    first = message.splitlines()[0] if message else ""
    if found := re.match(r"no Lipschitz constant is known for (\S+)", first):
        return f"no rule: {found[1].rstrip(':;')}"
    short = re.sub(r"^\S+ in .*?: (?=[a-z])", "", first)
    short = re.sub(
        r"[<(]fuzz \d+>?:?\d*\)?|\bself\.\w+|\b[mcvw]\d+(_\d+)?\b|\d+(\.\d+)?(e[+-]\d+)?", "_", short
    )
    short = re.sub(r"\((_, ?)+_?\)", "(shape)", short)
    return short.split("cannot be exported: ")[-1][:110]


def threads() -> None:
    """One thread: the models are too small for more."""
    torch.set_num_threads(1)
