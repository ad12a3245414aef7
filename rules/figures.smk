"""Tidy tables, facts and figures.

REQUIRED INPUTS: run.json and history.csv (rules/train.smk), bounds.csv (rules/bounds.smk) of every
run of a training; tables of studies (rules/studies.smk)

OUTPUTS:
    results/{scale}/tables/{training}.csv          a row per run, seed and point set, at the stop
    results/{scale}/tables/{training}_epochs.csv   the same at every kept checkpoint
    results/{scale}/facts/{figure}.json            every number that is drawn or judged
    figures/{figure}.pdf, .png, .json              the figure and where it comes from
"""


rule collect:
    input:
        summaries=lambda w: SETUP.runs(w.training, "run.json"),
        histories=lambda w: SETUP.runs(w.training, "history.csv"),
        bounds=lambda w: SETUP.runs(w.training, "bounds.csv"),
    output:
        epochs="results/{scale}/tables/{training}_epochs.csv",
        table=report(
            "results/{scale}/tables/{training}.csv",
            caption="../docs/report/table.rst",
            category="Tables",
            labels={"table": "{training}", "scale": "{scale}"},
        ),
    log:
        "logs/collect/{scale}/{training}.log",
    benchmark:
        "benchmarks/runs/collect/{scale}/{training}.tsv"
    localrule: True
    conda:
        "../envs/environment.yaml"
    params:
        runs=lambda w: SETUP.run_places(w.training),
        code=SETUP.code("collect"),
    message:
        "Collecting the table of {wildcards.training}"
    shell:
        # the folders of the inputs and not these, which can be more than a command line takes
        "python scripts/collect.py --runs {params.runs:q} --table {output.table:q} "
        "--epochs {output.epochs:q} --log {log:q}"


rule measure:
    input:
        table=lambda w: SETUP.tables(w.figure),
    output:
        facts="results/{scale}/facts/{figure}.json",
    log:
        "logs/measure/{scale}/{figure}.log",
    benchmark:
        "benchmarks/runs/measure/{scale}/{figure}.tsv"
    localrule: True
    conda:
        "../envs/environment.yaml"
    params:
        module=lambda w: SETUP.room(w.figure).drawing,
        context=lambda w: SETUP.context(w.figure),
        code=lambda w: SETUP.drawing_code("measure", w.figure),
    message:
        "Measuring what {wildcards.figure} shows"
    shell:
        "python scripts/measure.py --module {params.module} --table {input.table:q} "
        "--context {params.context:q} --facts {output.facts:q} --log {log:q}"


rule draw:
    input:
        table=lambda w: SETUP.tables(w.figure),
        facts=lambda w: facts(SETUP.config.scale, w.figure),
        style=os.path.relpath(BASE / "scripts" / "style.mplstyle"),
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
        "logs/draw/{figure}.log",
    benchmark:
        "benchmarks/runs/draw/{figure}.tsv"
    localrule: True
    conda:
        "../envs/environment.yaml"
    params:
        module=lambda w: SETUP.room(w.figure).drawing,
        caption=lambda w: SETUP.figure_caption(w.figure),
        context=lambda w: SETUP.context(w.figure),
        code=lambda w: SETUP.all_code(w.figure),
    message:
        "Drawing figures/{wildcards.figure}"
    shell:
        "python scripts/draw.py --module {params.module} --table {input.table:q} "
        "--facts {input.facts:q} --style {input.style:q} --context {params.context:q} "
        "--code {params.code:q} --pdf {output.pdf:q} --png {output.png:q} "
        "--sidecar {output.sidecar:q} --log {log:q}"


rule figures_images:
    input:
        expand("figures/{figure}.pdf", figure=SETUP.figures_of_images),
