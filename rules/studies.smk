"""Studies: one job, one tidy table, one figure of the same name.

REQUIRED INPUTS: none, or prepared arrays (rules/data.smk), or also trained nets (rules/train.smk)

OUTPUTS:
    results/{scale}/tables/{study}.csv    a row per measurement
"""


rule study:
    input:
        arrays=lambda w: SETUP.study_arrays(w.study),
        files=lambda w: SETUP.study_files(w.study),
    output:
        table=report(
            "results/{scale}/tables/{study}.csv",
            caption="../docs/report/table.rst",
            category="Tables",
            labels={"table": "{study}", "scale": "{scale}"},
        ),
    log:
        "logs/study/{scale}/{study}.log",
    benchmark:
        "benchmarks/runs/study/{scale}/{study}.tsv"
    # before all figures; the longest may as well start before the last trainings
    priority: lambda w: SETUP.study_priority(w.study)
    conda:
        "../envs/environment.yaml"
    threads: lambda w: SETUP.study_threads(w.study)
    resources:
        mem_mb=4000,
    params:
        settings=lambda w: SETUP.study_settings(w.study),
        code=lambda w: SETUP.code[f"study_{w.study}"],
        arrays=lambda w, input: f"--arrays {input.arrays}" if input.arrays else "",
        runs=lambda w: SETUP.study_runs(w.study),
    message:
        "Running the study {wildcards.study}"
    shell:
        "python scripts/study_{wildcards.study}.py {params.arrays} --runs {params.runs:q} --settings {params.settings:q} "
        "--threads {threads} --table {output.table:q} --log {log:q}"
