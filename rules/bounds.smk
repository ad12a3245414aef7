"""Lipschitz bounds of every kept checkpoint.

REQUIRED INPUTS: prepared arrays (rules/data.smk), checkpoints (rules/train.smk)

OUTPUTS:
    results/{scale}/{experiment}/noise~{noise}/width~{width}/bounds.csv   a row per seed, epoch, point set
"""


rule estimate_bounds:
    input:
        arrays=lambda w: SETUP.arrays(w.experiment),
        checkpoints="results/{scale}/{experiment}/noise~{noise}/width~{width}/checkpoints.safetensors",
    output:
        bounds="results/{scale}/{experiment}/noise~{noise}/width~{width}/bounds.csv",
    log:
        "logs/estimate_bounds/{scale}/{experiment}/noise~{noise}/width~{width}.log",
    benchmark:
        "benchmarks/runs/estimate_bounds/{scale}/{experiment}/noise~{noise}/width~{width}.tsv"
    conda:
        "../envs/environment.yaml"
    threads: 1
    resources:
        device=SETUP.config.device,
        gpu=SETUP.gpus,
    params:
        settings=lambda w: SETUP.config.bounds_job(w.experiment),
        code=SETUP.code["estimate_bounds"],
    message:
        "Bounding the Lipschitz constants of {wildcards.experiment} at width {wildcards.width}"
    shell:
        "python scripts/estimate_bounds.py --arrays {input.arrays:q} "
        "--checkpoints {input.checkpoints:q} --width {wildcards.width} "
        "--settings {params.settings:q} --code {params.code} --device {resources.device} "
        "--threads {threads} --bounds {output.bounds:q} --log {log:q}"
