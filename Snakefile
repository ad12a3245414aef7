"""Lipschitz continuity of neural networks: every figure is a target, rebuilt from raw data.

snakemake --cores 8 figures/double_descent.pdf
"""

import os
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.19")

# of this file, also where it is a module of another workflow
BASE = Path(workflow.current_basedir.get_path_or_uri(secret_free=True))
sys.path.insert(0, str(BASE / "scripts"))

from pipeline.snakemake.workflow import own_config, prepare_workflow  # noqa: E402


configfile: own_config(workflow, BASE)


from pipeline.snakemake.run_lock import hold_folder  # noqa: E402
from pipeline.runs.paths import facts  # noqa: E402
from pipeline.snakemake.private import lift_rate_limit  # noqa: E402
from pipeline.snakemake.machine import check_machine  # noqa: E402

SETUP = prepare_workflow(workflow, config, BASE)


report: "docs/report/workflow.rst"


wildcard_constraints:
    dataset=r"[a-z0-9_]+",
    published=r"[a-z0-9_]+",
    training="|".join(SETUP.trainings),
    study="|".join(SETUP.studies),
    kind=r"[a-z_]+",
    seed=r"\d+",
    noise=r"\d+",
    points=r"[1-9]\d*",
    width=r"[1-9]\d*",
    scale=SETUP.config.scale,
    figure=r"[a-z0-9_]+",
    table="|".join(SETUP.reader_tables),
    claims="claims|claims_images",


include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/bounds.smk"
include: "rules/studies.smk"
include: "rules/figures.smk"
include: "rules/claims.smk"
include: "rules/explore.smk"


onstart:
    hold_folder(workflow)
    check_machine(workflow, SETUP)
    lift_rate_limit(workflow)


rule figures:
    default_target: True
    input:
        SETUP.default_targets(sys.argv),
