"""Studies: one job measures something itself and writes one tidy table.

REQUIRED INPUTS: none, or prepared arrays (rules/data.smk), or also trained nets (rules/train.smk)

OUTPUTS:
    results/{scale}/tables/{study}.csv    a row per measurement
"""


rule study:
    input:
        arrays=lambda w: SETUP.study_arrays(w.study),
        labels=lambda w: SETUP.study_labels(w.study),
        files=lambda w: SETUP.study_files(w.study),
    output:
        table=report(
            "results/{scale}/tables/{study}.csv",
            caption="../docs/report/study.rst",
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
        device=lambda w: SETUP.study_device(w.study),
        gpu=lambda w: int(SETUP.study_device(w.study) == "cuda"),
        jobs_per_gpu=SETUP.config.top.jobs_per_gpu,
        mem_mb=4000,
    params:
        module=lambda w: SETUP.config.rooms[w.study].study,
        settings=lambda w: SETUP.config.study_job(w.study),
        inputs=lambda w: SETUP.study_inputs_identity(w.study),
        runs=lambda w: SETUP.study_runs(w.study),
        code=lambda w: SETUP.study_code(w.study),
    message:
        "Running the study {wildcards.study}"
    shell:
        "python scripts/study.py --module {params.module} --arrays {input.arrays:q} "
        "--runs {params.runs:q} --settings {params.settings:q} --threads {threads} "
        "--device {resources.device} --jobs-per-gpu {resources.jobs_per_gpu} "
        "--table {output.table:q} --log {log:q} "
        "--name 'study {wildcards.study}'"
