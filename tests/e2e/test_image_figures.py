"""All figures on images at smoke scale, of small files in the true formats that a server gives."""

import gzip
import json

import numpy as np
import pytest
from tests.conftest import Project
from tests.unit.published import Server, archive, batch, checksum, idx

from nets import parts
from nets.dataset import Member, Published, PublishedFile
from nets.formats.idx import MEMBERS
from pipeline.claims.report import Source, claims_frame
from pipeline.config.loading import load_config
from pipeline.snakemake.setup import WorkflowSetup

pytestmark = pytest.mark.slow

POINTS = {"train": 600, "t10k": 80, "test": 80}
LABELS = {"cifar10": {"labels": 10}, "cifar100": {"fine_labels": 100, "coarse_labels": 20}}

SMALL = """

from dataclasses import replace

from nets.dataset import Member, Published, PublishedFile

DATASET = replace(DATASET, sha256=None, published={published!r})
"""


def points_of(member):
    return next((points for part, points in POINTS.items() if part in member), 80)


def small_mnist():
    random = np.random.default_rng(0)
    files = {}
    for name in MEMBERS:
        shape = (points_of(name), 28, 28) if "images" in name else (points_of(name),)
        content = idx(random.integers(0, 255 if len(shape) > 1 else 10, shape).astype(np.uint8))
        files[f"{name}.gz"] = (gzip.compress(content, mtime=0), (Member(name),))
    return files


def small_cifar(name):
    (file,) = parts.load("data", name).PUBLISHED.files
    random, inside = np.random.default_rng(1), {}
    for seed, member in enumerate(file.members):
        points = points_of(member.name)
        labels = {
            key: random.integers(0, classes, points).tolist() for key, classes in LABELS[name].items()
        }
        inside[member.name] = batch(points, seed, **labels)
    packed = archive({f"{name}-python/{member}": content for member, content in inside.items()})
    return {file.name: (packed, tuple(Member(member) for member in inside))}


def serve(project, server):
    """Have the server give small files, and the data sets of the project expect them."""
    for folder, files in {
        "mnist": small_mnist(),
        "cifar10": small_cifar("cifar10"),
        "cifar100": small_cifar("cifar100"),
    }.items():
        published = []
        for name, (content, members) in files.items():
            server.files[f"/{folder}/{name}"] = content
            published.append(PublishedFile(name, checksum(content), len(content), members))
        small = Published(folder, ("http://127.0.0.1:9/",), (), tuple(published))
        for module in (project.folder / "scripts" / "nets" / "data").glob(f"{folder}*.py"):
            if module.stem in (folder, f"{folder}_coarse"):
                module.write_text(module.read_text() + SMALL.format(published=small))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with all figures on images, and what the server was asked for."""
    project, server = Project.copy_to(tmp_path_factory.mktemp("images")), Server()
    try:
        serve(project, server)
        project.snakemake(
            *("figures_images", "--cores", "2", "--quiet", "--config"),
            *("scale=smoke", "simulations=1", f"mirror={server.url}"),
        )
    finally:
        server.close()
    return project, server.asked


@pytest.fixture(scope="module")
def setup():
    return WorkflowSetup(load_config({"scale": "smoke"} | json.loads(REST)))


REST = json.dumps(
    {"device": "cpu", "random_seed": 0, "save_every": 20, "progress_every": 5, "simulations": 1}
)


def test_every_figure_is_drawn_and_judged_from_files_that_were_fetched_once(made, setup):
    project, asked = made
    drawn = {path.stem for path in (project.folder / "figures").glob("*.pdf")}
    assert drawn == set(setup.figures_of_images)
    assert sorted(path for path, _ in asked) == sorted({path for path, _ in asked})
    assert len(asked) == 6
    # in the same test, since each worker would make all figures anew for another one
    facts = {
        path.stem: json.loads(path.read_text())
        for path in (project.folder / "results/smoke/facts").glob("*.json")
    }
    sources = [Source(**one) for one in json.loads(setup.claim_sources("claims_images"))]
    claims = claims_frame(sources, facts).set_index("claim")
    on_images = claims[claims["figure"].isin(setup.figures_of_images)]
    assert len(on_images) > 5
    assert not on_images["reason"].str.contains("lack|no facts").any()
