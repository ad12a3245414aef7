"""Data and labels.

REQUIRED INPUTS: none (MNIST-1D comes out of its generator; the files of other data sets are looked
for in data_root and results/raw, and downloaded if they are in neither)

OUTPUTS:
    results/raw/{published}/files.json                                   which published file lies where
    results/data/{dataset}/arrays.safetensors                            x_train y_train x_test y_test
    results/data/{dataset}/manifest.json                                 source, shapes, checksums
    results/labels/{dataset}/{kind}~{seed}/noise~{noise}/labels.safetensors   noisy y_train, y_test

What data must contain is declared and checked, so the program that makes them is no reason to make
them again.
"""


rule download:
    output:
        files="results/raw/{published}/files.json",
    log:
        "logs/download/{published}.log",
    benchmark:
        "benchmarks/runs/download/{published}.tsv"
    # before all training, which waits for it
    priority: 10**12
    localrule: True
    conda:
        "../envs/environment.yaml"
    resources:
        # resources, because a change of them rebuilds nothing
        data_root=SETUP.config.top.data_root or "",
        mirror=SETUP.config.top.mirror or "",
        progress_every=str(SETUP.config.top.progress_every),
    params:
        published=lambda w: SETUP.known_published(w.published),
    message:
        "Looking for the published files of {wildcards.published}, downloading what is missing"
    shell:
        "python scripts/download.py --published {params.published} --data-root={resources.data_root:q} "
        "--mirror={resources.mirror:q} --progress-every {resources.progress_every} "
        "--output {output.files:q} --log {log:q}"


rule prepare_data:
    input:
        # checked by checksum whenever they are read: where they lie makes no data anew
        files=ancient(lambda w: SETUP.published_files(w.dataset)),
    output:
        arrays="results/data/{dataset}/arrays.safetensors",
        manifest="results/data/{dataset}/manifest.json",
    log:
        "logs/prepare_data/{dataset}.log",
    benchmark:
        "benchmarks/runs/prepare_data/{dataset}.tsv"
    # before all training, which waits for it
    priority: 10**12
    localrule: True
    conda:
        "../envs/environment.yaml"
    params:
        content=lambda w: SETUP.data_identity(w.dataset),
    message:
        "Preparing {wildcards.dataset}"
    shell:
        "python scripts/prepare_data.py --dataset {wildcards.dataset} --files {input.files:q} "
        "--arrays {output.arrays:q} --manifest {output.manifest:q} --log {log:q}"


rule inject_noise:
    input:
        arrays="results/data/{dataset}/arrays.safetensors",
    output:
        labels="results/labels/{dataset}/{kind}~{seed}/noise~{noise}/labels.safetensors",
    log:
        "logs/inject_noise/{dataset}/{kind}~{seed}/noise~{noise}.log",
    benchmark:
        "benchmarks/runs/inject_noise/{dataset}/{kind}~{seed}/noise~{noise}.tsv"
    # before all training, which waits for it
    priority: 10**12
    localrule: True
    conda:
        "../envs/environment.yaml"
    params:
        data=lambda w: SETUP.data_identity(w.dataset),
        code=lambda w: SETUP.noise_code(w.kind),
    message:
        "Injecting {wildcards.noise} % label noise ({wildcards.kind}) into {wildcards.dataset}"
    shell:
        "python scripts/inject_noise.py --kind {wildcards.kind} "
        "--percent {wildcards.noise} --seed {wildcards.seed} "
        "--arrays {input.arrays:q} --labels {output.labels:q} --log {log:q}"


rule inject_noise_among:
    input:
        arrays="results/data/{dataset}/arrays.safetensors",
    output:
        labels="results/labels/{dataset}/{kind}~{seed}~of~{points}/noise~{noise}/labels.safetensors",
    log:
        "logs/inject_noise/{dataset}/{kind}~{seed}~of~{points}/noise~{noise}.log",
    benchmark:
        "benchmarks/runs/inject_noise/{dataset}/{kind}~{seed}~of~{points}/noise~{noise}.tsv"
    # before all training, which waits for it
    priority: 10**12
    localrule: True
    conda:
        "../envs/environment.yaml"
    params:
        data=lambda w: SETUP.data_identity(w.dataset),
        code=lambda w: SETUP.noise_code_among(w.kind),
    message:
        "Injecting {wildcards.noise} % label noise ({wildcards.kind}) into {wildcards.points} points of "
        "{wildcards.dataset}"
    shell:
        "python scripts/inject_noise_among.py --kind {wildcards.kind} --points {wildcards.points} "
        "--percent {wildcards.noise} --seed {wildcards.seed} "
        "--arrays {input.arrays:q} --labels {output.labels:q} --log {log:q}"
