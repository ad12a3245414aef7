"""Tables and figures.

REQUIRED INPUTS: run.json and history.csv (rules/train.smk), bounds.csv (rules/bounds.smk) of every
run of an experiment; tables of studies (rules/studies.smk)

OUTPUTS:
    results/{scale}/tables/{experiment}.csv          a row per run, seed and point set, at the stop
    results/{scale}/tables/{experiment}_epochs.csv   the same at every kept checkpoint
    figures/{figure}.pdf, .png, .json              the figure and where it comes from
"""


rule collect:
    input:
        summaries=lambda w: SETUP.runs(w.experiment, "run.json"),
        histories=lambda w: SETUP.runs(w.experiment, "history.csv"),
        bounds=lambda w: SETUP.runs(w.experiment, "bounds.csv"),
    output:
        epochs="results/{scale}/tables/{experiment}_epochs.csv",
        table=report(
            "results/{scale}/tables/{experiment}.csv",
            caption="../docs/report/table.rst",
            category="Tables",
            labels={"table": "{experiment}", "scale": "{scale}"},
        ),
    log:
        "logs/collect/{scale}/{experiment}.log",
    benchmark:
        "benchmarks/runs/collect/{scale}/{experiment}.tsv"
    localrule: True
    conda:
        "../envs/environment.yaml"
    params:
        runs=lambda w: SETUP.run_names(w.experiment),
        code=SETUP.code["collect"],
    message:
        "Collecting the table of {wildcards.experiment}"
    shell:
        "python scripts/collect.py --runs {params.runs:q} --summaries {input.summaries:q} "
        "--histories {input.histories:q} --bounds {input.bounds:q} --table {output.table:q} "
        "--epochs {output.epochs:q} --log {log:q}"


rule plot:
    input:
        table=lambda w: SETUP.tables(w.figure),
        style="scripts/style.mplstyle",
    output:
        pdf=report(
            "figures/{figure}.pdf",
            caption="../docs/report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}", "format": "pdf"},
        ),
        png=report(
            "figures/{figure}.png",
            caption="../docs/report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}", "format": "png"},
        ),
        sidecar="figures/{figure}.json",
    log:
        "logs/plot/{figure}.log",
    benchmark:
        "benchmarks/runs/plot/{figure}.tsv"
    localrule: True
    conda:
        "../envs/environment.yaml"
    params:
        caption=lambda w: SETUP.figure_caption(w.figure),
        context=lambda w: SETUP.figure_context(w.figure),
    message:
        "Drawing figures/{wildcards.figure}"
    shell:
        "python scripts/plot_{wildcards.figure}.py --table {input.table:q} --style {input.style:q} "
        "--context {params.context:q} --pdf {output.pdf:q} --png {output.png:q} "
        "--sidecar {output.sidecar:q} --log {log:q}"
