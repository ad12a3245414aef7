"""Lipschitz bounds of every kept checkpoint.

REQUIRED INPUTS: prepared arrays (rules/data.smk), checkpoints (rules/train.smk)

OUTPUTS:
    results/{scale}/{training}/noise~{noise}/width~{width}/bounds.csv   a row per seed, epoch, point set
"""


rule estimate_bounds:
    input:
        arrays=lambda w: SETUP.arrays(w.training),
        checkpoints="results/{scale}/{training}/noise~{noise}/width~{width}/checkpoints.safetensors",
    output:
        bounds="results/{scale}/{training}/noise~{noise}/width~{width}/bounds.csv",
    log:
        "logs/estimate_bounds/{scale}/{training}/noise~{noise}/width~{width}.log",
    benchmark:
        "benchmarks/runs/estimate_bounds/{scale}/{training}/noise~{noise}/width~{width}.tsv"
    conda:
        "../envs/environment.yaml"
    threads: 1
    resources:
        device=SETUP.config.top.device,
        gpu=SETUP.gpus,
        jobs_per_gpu=SETUP.config.top.jobs_per_gpu,
    params:
        settings=lambda w: SETUP.bounds_settings(w.training),
        data=lambda w: SETUP.data_identity(SETUP.config.setup(w.training).dataset),
        code=lambda w: SETUP.bounds_code(w.training),
    message:
        "Bounding the Lipschitz constants of {wildcards.training}, noise {wildcards.noise}, "
        "width {wildcards.width}"
    shell:
        "python scripts/estimate_bounds.py --arrays {input.arrays:q} "
        "--checkpoints {input.checkpoints:q} --width {wildcards.width} "
        "--settings {params.settings:q} --code {params.code} --device {resources.device} --jobs-per-gpu {resources.jobs_per_gpu} "
        "--threads {threads} --bounds {output.bounds:q} --log {log:q} "
        "--name 'bounds of {wildcards.training} noise {wildcards.noise} width {wildcards.width}'"
