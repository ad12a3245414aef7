"""Verdicts on what papers claim about bounds, each from a test on random instances."""

import time
from dataclasses import asdict
from typing import Annotated

import pandas as pd
import torch
from pydantic import Field

from lipbounds.threads import one_thread
from nets.settings import NonNegative, Section
from papers.beyond.bound_claims import gram, layers, lipsdp, padding, seqlip
from papers.beyond.bound_claims.evidence import claims_in
from pipeline.jobs.progress import LOG
from pipeline.jobs.seeds import derive_seed
from pipeline.measuring.arrays import Arrays

SUBJECTS = (seqlip, lipsdp, layers, gram, padding)
"""Modules with claims: imported by name, for what a study depends on is read off its imports."""


class Settings(Section):
    """Verdicts on claims about bounds, from random instances."""

    instances: Annotated[int, Field(strict=True, ge=4)] = Field(
        description="random instances of each claim"
    )
    seed: NonNegative = Field(description="root of the seeds of the instances")


def study(settings: Settings, arrays: Arrays) -> pd.DataFrame:
    """A row per claim."""
    rows = []
    for claim in claims_in(SUBJECTS):
        generator = torch.Generator().manual_seed(derive_seed(settings.seed, claim.name))
        started = time.perf_counter()
        with one_thread():
            evidence = claim.test(settings.instances, generator)
        seconds = time.perf_counter() - started
        LOG.info("%s %s (%.1f s)", claim.name, evidence.verdict, seconds)
        about = {
            "claim": claim.name,
            "source": claim.source,
            "statement": claim.statement,
            "rule": claim.rule,
            "kind": claim.kind,
            "since": claim.since,
            "changes": claim.changes,
        }
        rows.append(about | asdict(evidence) | {"figure": claim.figure, "seconds": seconds})
    return pd.DataFrame(rows)
