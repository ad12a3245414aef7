"""Training: one job per width, and per strength of regularisation, with all its seeds side by side.

REQUIRED INPUTS: prepared arrays and labels (rules/data.smk)

OUTPUTS, in results/{scale}/{experiment}/noise~{noise}/width~{width}/ (where strengths are listed,
the experiment is NAME/strength~R, R in millionths):
    checkpoints.safetensors   weights seed~S/epoch~E/L.weight at initialisation, stop and in between
    history.csv               losses, errors and gradient norm by seed and epoch
    run.json                  why and where each seed stopped, and all settings
"""


rule train:
    input:
        arrays=lambda w: SETUP.arrays(w.experiment),
        labels=lambda w: SETUP.labels(w.experiment, w.noise),
    output:
        checkpoints="results/{scale}/{experiment}/noise~{noise}/width~{width}/checkpoints.safetensors",
        history="results/{scale}/{experiment}/noise~{noise}/width~{width}/history.csv",
        summary="results/{scale}/{experiment}/noise~{noise}/width~{width}/run.json",
    log:
        "logs/train/{scale}/{experiment}/noise~{noise}/width~{width}.log",
    benchmark:
        "benchmarks/runs/train/{scale}/{experiment}/noise~{noise}/width~{width}.tsv"
    # longest first: the longest job decides when the last one ends
    priority: lambda w: SETUP.training_cost(w.experiment, int(w.width))
    conda:
        "../envs/environment.yaml"
    threads: 1
    resources:
        # resources, because a change of them rebuilds nothing
        device=SETUP.config.device,
        gpu=SETUP.gpus,
        intervals=SETUP.intervals,
        mem_mb=lambda w: SETUP.training_memory_mb(w.experiment, int(w.width)),
    params:
        settings=lambda w: SETUP.config.training_job(w.experiment),
        code=SETUP.code["train"],
    message:
        "Training {wildcards.experiment} at width {wildcards.width}"
    shell:
        "python scripts/train.py --arrays {input.arrays:q} --labels {input.labels:q} "
        "--width {wildcards.width} --settings {params.settings:q} --code {params.code} "
        "--device {resources.device} {resources.intervals} --threads {threads} --checkpoints {output.checkpoints:q} "
        "--history {output.history:q} --summary {output.summary:q} --log {log:q}"
