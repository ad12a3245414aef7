"""Verdicts on what papers claim about bounds, each from a test on random instances."""

import time
from dataclasses import asdict

import pandas as pd
import torch

from lipbounds.threads import one_thread
from pipeline.bound_claims import CLAIMS
from pipeline.config.studies import BoundClaims
from pipeline.jobs.progress import LOG
from pipeline.jobs.seeds import derive_seed
from pipeline.study_command import Arrays, study_command


def study(settings: BoundClaims, arrays: Arrays) -> pd.DataFrame:
    """A row per claim."""
    rows = []
    for claim in CLAIMS:
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
        }
        rows.append(about | asdict(evidence) | {"figure": claim.figure, "seconds": seconds})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    study_command(study, BoundClaims, __doc__)
