"""One page of HTML on which the figures can be explored.

REQUIRED INPUTS: facts and tables of the figures (rules/figures.smk) and verdicts (rules/claims.smk)
that are there, at every scale; none is made for the page

OUTPUTS:
    figures/explore.html    numbers, runs, facts and claims of every figure; loads nothing else
"""

from pathlib import Path

from pipeline.snakemake.explored import Explored

EXPLORED = Explored(SETUP, config, Path.cwd())


rule explore:
    input:
        facts=lambda w: EXPLORED.facts,
        tables=lambda w: EXPLORED.tables,
        claims=lambda w: EXPLORED.claims,
        style=os.path.relpath(BASE / "scripts" / "style.mplstyle"),
        parts=[
            os.path.relpath(BASE / "scripts" / "pipeline" / "explore" / part)
            for part in ("page.html", "page.css", "chart.js", "page.js")
        ],
    output:
        page="figures/explore.html",
    log:
        "logs/explore.log",
    benchmark:
        "benchmarks/runs/explore.tsv"
    localrule: True
    conda:
        "../envs/environment.yaml"
    params:
        figures=lambda w: EXPLORED.figures,
        code=lambda w: EXPLORED.code,
    message:
        "Making the page to explore the figures"
    shell:
        "python scripts/explore.py --figures {params.figures:q} --facts {input.facts:q} "
        "--tables {input.tables:q} --claims {input.claims:q} --style {input.style:q} "
        "--parts {input.parts:q} --page {output.page:q} --log {log:q}"
