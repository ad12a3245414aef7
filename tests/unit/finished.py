"""A small finished run of files that nobody has computed, and its archive."""

import json
import shutil
from base64 import urlsafe_b64encode
from pathlib import Path

import yaml
from tests.conftest import ROOT

from pipeline.archives.about import FORMAT, About, Code
from pipeline.archives.contents import contents
from pipeline.archives.packing import pack, texts
from pipeline.jobs.command import made_by
from pipeline.provenance import seals
from pipeline.provenance.files import write_text
from pipeline.snakemake.private import METADATA, PlannedJob, Record, put_record, records_of

RUN = "results/smoke/toy/noise~0/width~4"
ARRAYS = "results/data/mnist1d/arrays.safetensors"
TABLE, EPOCHS = "results/smoke/tables/toy.csv", "results/smoke/tables/toy_epochs.csv"
FACTS = "results/smoke/facts/toy.json"
FIGURE = ("figures/toy.pdf", "figures/toy.png", "figures/toy.json")
WEIGHTS = f"{RUN}/checkpoints.safetensors"
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_bytes())
CONFIG |= {"scale": "smoke", "data_root": "/home/somebody/data"}

STEPS = {
    "prepare_data/mnist1d": ((ARRAYS,), ()),
    "train/smoke/toy/width~4": ((WEIGHTS, f"{RUN}/history.csv", f"{RUN}/run.json"), (ARRAYS,)),
    "estimate_bounds/smoke/toy/width~4": ((f"{RUN}/bounds.csv",), (ARRAYS, WEIGHTS)),
    "collect/smoke/toy": (
        (TABLE, EPOCHS),
        (f"{RUN}/history.csv", f"{RUN}/run.json", f"{RUN}/bounds.csv"),
    ),
    "measure/smoke/toy": ((FACTS,), (TABLE,)),
    "draw/toy": (FIGURE, (TABLE, FACTS)),
    "draw/other": (("figures/other.pdf", "figures/other.png", "figures/other.json"), (TABLE,)),
}
"""Outputs and inputs of each job; the last has not been done."""

CONTENT = {
    TABLE: "width,seed,c_lower,seconds\n4,0,1.5,0.1\n4,1,2.5,0.2\n",
    FACTS: json.dumps({"peak": {"estimate": 2.0, "low": 1.5, "high": 2.5}, "width": 4}),
    "figures/toy.json": json.dumps({"scale": "smoke", "settings": {"seeds": 2}}),
}


def benchmark(name):
    return f"benchmarks/runs/{name}.tsv"


def command(name):
    return f"python scripts/{name.split('/')[0]}.py --of {name}"


def jobs():
    """What a dry run would have found."""
    makers = {file: name for name, (outputs, _) in STEPS.items() for file in outputs}
    return {
        benchmark(name): PlannedJob(
            benchmark(name),
            1,
            outputs,
            tuple(sorted({benchmark(makers[file]) for file in inputs})),
            command(name),
            "",
            name.split("/")[0],
        )
        for name, (outputs, inputs) in STEPS.items()
    }


def make(content=None):
    """All files of the run in the working directory, with seals and records."""
    for name, (outputs, inputs) in list(STEPS.items())[:-1]:
        with seals.sealing(made_by(command(name).split()[2:]), map(Path, inputs)):
            for file in outputs:
                write_text(Path(file), (content or CONTENT).get(file, f"{file} of the run\n"))
        for file in outputs:
            record = {"rule": name.split("/")[0], "input": list(inputs), "params": [name]}
            put_record(Path(), file, Record(coded(file), record))


def coded(file):
    return urlsafe_b64encode(file.encode()).decode()


def archive(path=Path("archive.zip"), weights=True, config=None):
    """Pack what is in the working directory."""
    found = contents(jobs(), "smoke", weights=weights)
    about = About(
        format=FORMAT,
        code=Code(title="Toy nets", version="0.1.0", commit="", changed=False),
        scale="smoke",
        weights=weights,
        machine="Linux x86_64",
        python="3.11.4",
        packages={"torch": "2.14.1"},
        steps=found.steps,
    )
    pack(
        path, about, found, texts(about, found, records_of(Path(), found.seals), config or CONFIG, ROOT)
    )
    return path


def away():
    """Remove the run from the working directory."""
    for folder in ("results", "figures", METADATA):
        shutil.rmtree(folder)
