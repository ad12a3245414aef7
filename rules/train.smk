"""Training: one job per training, variant, noise level and width, with all its seeds side by side.

REQUIRED INPUTS: prepared arrays and labels (rules/data.smk)

OUTPUTS, in results/{scale}/{training}/noise~{noise}/width~{width}/ (of a variant, the
training is NAME/VARIANT):
    checkpoints.safetensors   parameters and buffers seed~S/epoch~E/NAME at initialisation, stop and in between
    history.csv               losses, errors and gradient norm by seed and epoch
    run.json                  why and where each seed stopped, and all settings
"""


rule train:
    input:
        arrays=lambda w: SETUP.arrays(w.training),
        labels=lambda w: SETUP.labels(w.training, w.noise),
    output:
        checkpoints="results/{scale}/{training}/noise~{noise}/width~{width}/checkpoints.safetensors",
        history="results/{scale}/{training}/noise~{noise}/width~{width}/history.csv",
        summary="results/{scale}/{training}/noise~{noise}/width~{width}/run.json",
    log:
        "logs/train/{scale}/{training}/noise~{noise}/width~{width}.log",
    benchmark:
        "benchmarks/runs/train/{scale}/{training}/noise~{noise}/width~{width}.tsv"
    # longest first: the longest job decides when the last one ends
    priority: lambda w: SETUP.training_cost(w.training, int(w.width))
    conda:
        "../envs/environment.yaml"
    threads: 1
    resources:
        # resources, because a change of them rebuilds nothing
        device=SETUP.config.top.device,
        gpu=SETUP.gpus,
        jobs_per_gpu=SETUP.config.top.jobs_per_gpu,
        save_every=str(SETUP.config.top.save_every),
        progress_every=str(SETUP.config.top.progress_every),
        mem_mb=lambda w, attempt: attempt * SETUP.training_memory_mb(w.training, int(w.width)),
    params:
        settings=lambda w: SETUP.training_settings(w.training),
        labels=lambda w: SETUP.labels_identity(w.training, w.noise),
        code=lambda w: SETUP.training_code(w.training),
    message:
        "Training {wildcards.training}, noise {wildcards.noise}, width {wildcards.width}"
    shell:
        "python scripts/train.py --arrays {input.arrays:q} --labels {input.labels:q} "
        "--width {wildcards.width} --settings {params.settings:q} --code {params.code} "
        "--device {resources.device} --jobs-per-gpu {resources.jobs_per_gpu} "
        "--save-every {resources.save_every} --progress-every {resources.progress_every} --threads {threads} "
        "--checkpoints {output.checkpoints:q} "
        "--history {output.history:q} --summary {output.summary:q} --log {log:q} "
        "--name '{wildcards.training} noise {wildcards.noise} width {wildcards.width}'"
