"""What the plan says before anything runs: work counted from set-ups, and sums of it."""

from types import MappingProxyType

import pytest
import torch
import yaml
from tests.conftest import ROOT
from torch.utils.flop_counter import FlopCounterMode

from nets import parts
from pipeline.config.loading import load_config
from pipeline.jobs.command import CommandError
from pipeline.plan.datasets import Size, size_of
from pipeline.plan.estimate import Estimate, Planner, Range, machine_factors
from pipeline.plan.rates import START, Measured, Rates, probe, read_measured, seconds_of_a_core
from pipeline.plan.report import csv, hours, longest, rows, shown, wall_seconds
from pipeline.plan.runs import Run
from pipeline.plan.work import Net, Work
from pipeline.snakemake.private import PlannedJob
from pipeline.snakemake.setup import WorkflowSetup

CONFIG = load_config(yaml.safe_load((ROOT / "config.yaml").read_text()) | {"scale": "smoke"})
IMAGE, CLASSES = (3, 32, 32), 10
NOWHERE = ROOT / "nowhere"


def settings(family, **stated):
    """Settings of a family with its name, as a set-up has them."""
    base = parts.settings_of("model", family)
    named = type(family, (base,), {"__annotations__": {"name": str}, "name": family})
    return named(**stated)


FCN = settings("fcn", hidden_layers=2, output_activation="relu", minimum_alive_share=0)


def fcn_flop(width):
    """Two for each weight: 40 inputs, two hidden layers, 10 classes."""
    return 2 * (40 * width + width**2 + 10 * width)


def cnn_flop(width):
    """Kernels of 3 x 3 at 32 x 32, 32 x 32, 16 x 16 and 8 x 8 places, and a linear layer."""
    places = ((3, 1, 1024), (1, 2, 1024), (2, 4, 256), (4, 8, 64))
    sizes = [(3 if n == 0 else a * width, b * width, p) for n, (a, b, p) in enumerate(places)]
    return 2 * (sum(9 * a * b * p for a, b, p in sizes) + 8 * width * CLASSES)


def vit_flop(width, depth=2, heads=2, size=8):
    """16 patches of 192 numbers; 17 tokens in each block: attention, and two layers of 4 width."""
    inner = heads * size
    block = 17 * width * 3 * inner + 2 * heads * 17 * 17 * size + 17 * inner * width
    block += 2 * 17 * width * 4 * width
    return 2 * (16 * 192 * width + depth * block + width * CLASSES)


def resnet_flop(width):
    """One block in each stage: convolutions at 32 x 32, 16 x 16 and 8 x 8 places."""
    stages = ((width, width, 1024), (width, 2 * width, 256), (2 * width, 4 * width, 64))
    blocks = sum(9 * p * (a * b + b * b) for a, b, p in stages)
    return 2 * (9 * 3 * width * 1024 + blocks + 4 * width * CLASSES)


BY_HAND = {
    "fcn": (FCN, (40,), fcn_flop),
    "fcn_dropout": (
        settings("fcn_dropout", hidden_layers=1, share=0.5),
        (40,),
        lambda w: 2 * (40 * w + 10 * w),
    ),
    "cnn": (settings("cnn"), IMAGE, cnn_flop),
    "vit": (settings("vit", depth=2, heads=2, head_size=8), IMAGE, vit_flop),
    "resnet": (settings("resnet", blocks=1), IMAGE, resnet_flop),
}


@pytest.mark.parametrize("family", parts.names("model"))
def test_flop_are_those_by_hand_and_those_that_torch_counts(family):
    own, shape, by_hand = BY_HAND[family]
    net = Net(own, 6, shape, CLASSES)
    assert net.forward(7).flop == 7 * by_hand(6)
    module = parts.made("model", own).build(6, shape, CLASSES)
    counter = FlopCounterMode(display=False)
    with counter:
        module.eval()(torch.zeros(7, *shape)).sum().backward()
    assert net.update(7).flop == counter.get_total_flops()
    assert net.parameters == sum(parameter.numel() for parameter in module.parameters())
    # no numbers: the widest net of the paper takes no memory
    assert all(parameter.is_meta for parameter in net.module.parameters())


def test_convolutions_of_few_channels_take_whole_blocks():
    narrow, wide = (Net(settings("cnn"), width, IMAGE, CLASSES).forward(1) for width in (1, 8))
    assert narrow.padded > 5 * narrow.flop
    assert wide.padded < 1.5 * wide.flop
    assert Net(FCN, 1, (40,), 10).forward(1).padded == fcn_flop(1)


def test_nets_side_by_side_share_calls():
    assert Work(2, 3, 5, 7).side_by_side(4) == Work(8, 12, 5, 28)
    assert Work(2, 3, 5, 7).times(2) + Work(calls=1) == Work(4, 6, 11, 14)


def run(name, width, **changes):
    setup = CONFIG.setup(name)
    training = setup.training.model_copy(update=changes)
    setup = setup.model_copy(update={"training": training})
    return Run(setup, width, size_of(setup.dataset, NOWHERE))


def test_training_is_updates_checks_and_records():
    """Smoke scale: 2 seeds, 150 epochs; a check every 5 from 40 on, a record every 10."""
    one = run("double_descent", 16)
    assert one.epochs == (40, 150)
    assert one.stacked
    forward = 2 * (40 + 10) * 16
    both = 2 * forward + 2 * 10 * 16  # the inputs need no derivatives
    passes = 150 + (23 + 17)
    # eight batches of 512 points hold the 4000, and two the 1000
    expected = 2 * (passes * 8 * 512 * both + 17 * 2 * 512 * forward)
    assert one.training(150).flop == expected
    assert one.checkpoints(150) == 2 * 4
    assert one.checkpoints(40) == 2 * 3  # epoch 100 is not reached
    jacobians = 11 * forward * 5000
    assert one.bounds(150).flop == 8 * jacobians
    assert one.disk(150)[0] == pytest.approx(8 * 4 * 50 * 16, rel=0.4)


def test_each_seed_of_other_nets_is_trained_by_itself():
    one = run("cnn_cifar10", 2)
    assert not one.stacked
    seeds = one.setup.seeds
    alone = Run(one.setup.model_copy(update={"seeds": 1}), 2, one.data).training(4)
    assert one.training(4) == pytest.approx(alone.times(seeds))
    assert one.points == 64
    assert one.bound_points == 128


def test_a_penalty_takes_longer():
    updates = {
        tuple(part.work for part in CONFIG.setup(name).training.penalties.values()): run(name, 16)
        for name in CONFIG.variants("regularisation")
    }
    assert set(updates) == {(), (6,)}
    without, with_penalty = (updates[key].training(1000).flop for key in ((), (6,)))
    assert 3 < with_penalty / without < 6


@pytest.mark.parametrize("name", parts.names("data"))
def test_every_data_set_says_how_large_it_is(name):
    size = size_of(name, NOWHERE)
    assert size.training == parts.stated("data", name, "TRAINING_POINTS")
    assert size.numbers in (40, 784, 3072)
    assert size.bytes > size.training * size.numbers


def test_data_of_unknown_size_are_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(parts, "stated", lambda *_: None)
    with pytest.raises(CommandError, match=r"mnist1d.py .*TRAINING_POINTS.*snakemake --cores 1"):
        size_of("mnist1d", tmp_path)
    manifest = tmp_path / "results" / "data" / "mnist1d" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    arrays = '{"x_train": {"shape": [5, 3, 2]}, "x_test": {"shape": [4, 3, 2]}}'
    manifest.write_text(f'{{"arrays": {arrays}}}')
    assert size_of("mnist1d", tmp_path) == Size(5, 4, (3, 2), 10)


@pytest.mark.parametrize(
    ("seconds", "processor", "alone"),
    [(12.0, 6.0, 6.0), (20.0, 15.0, 20.0), (60.0, 22.5, 30.0), (0.4, 0.0, 0.4), (50.0, "NA", 50.0)],
)
def test_seconds_of_a_core_are_those_without_other_work(seconds, processor, alone):
    assert seconds_of_a_core({"s": seconds, "cpu_time": processor}) == pytest.approx(alone)


RATES = Rates(
    machine="another",
    probes={"padded": 1e-9, "calls": 1e-6, "bytes": 1e-10},
    work={
        "train stacked": {"padded": 1e-9},
        "train plain": {"calls": 1e-6},
        "estimate_bounds": {"padded": 1e-9, "traced": 1.0},
    },
    light={"draw": Measured(3.0, 200.0, 0.5)},
    studies={"laptop/toy": Measured(100.0, 700.0, 0.1)},
)
SAME = MappingProxyType({"padded": 1.0, "calls": 1.0, "bytes": 1.0})
PLANNER = Planner(WorkflowSetup(CONFIG), RATES, SAME, NOWHERE)
PLACE = {"training": "double_descent", "noise": "0", "width": "16"}


def job(name, rule, *needs, threads=1, outputs=(), **wildcards):
    return PlannedJob(name, threads, outputs, needs, rule=rule, wildcards=wildcards)


def test_a_stopping_rule_gives_a_range():
    found = PLANNER.estimate(job("a", "train", **PLACE))
    work = [run("double_descent", 16).training(epochs) for epochs in (40, 150)]
    assert found.flop == tuple(one.flop for one in work)
    assert found.seconds == pytest.approx(tuple(START + 1e-9 * one.padded for one in work))
    fixed = PLANNER.estimate(job("a", "train", training="cnn_cifar10", noise="0", width="1"))
    assert fixed.seconds.least == fixed.seconds.most


def test_slower_machines_take_longer():
    slow = Planner(WorkflowSetup(CONFIG), RATES, {**SAME, "padded": 3.0}, NOWHERE)
    bounds = job("a", "estimate_bounds", **PLACE)
    ours, theirs = (one.estimate(bounds).seconds.most - START for one in (PLANNER, slow))
    assert theirs == pytest.approx(3 * ours)
    assert machine_factors(RATES, {"padded": 2e-9, "calls": 1e-6, "bytes": 1e-10})["padded"] == 2


def test_this_machine_is_measured_in_a_second():
    found = probe(seconds=0.01)
    assert set(found) == set(SAME)
    assert all(0 < seconds < 1e-3 for seconds in found.values())


def test_studies_are_scaled_from_where_they_were_measured():
    less, more = PLANNER.estimate(job("a", "study", study="toy")).seconds
    assert 0 < less <= more <= 100
    unknown = PLANNER.estimate(job("a", "study", study="sandwich"))
    assert not unknown.known
    assert unknown.seconds == (0, 0)


def test_what_has_run_here_is_looked_up(tmp_path):
    benchmark = tmp_path / "benchmarks" / "a.tsv"
    benchmark.parent.mkdir()
    benchmark.write_text("s\tmax_rss\tcpu_time\n1\t1\t1\n12.0\t321.5\t8.0\n")
    planner = Planner(WorkflowSetup(CONFIG), RATES, SAME, tmp_path)
    known = job("benchmarks/a.tsv", "train", threads=2, **PLACE)
    found = planner.estimate(known)
    assert planner.is_measured(known)
    assert found.seconds == (16, 16)
    assert found.memory_mb == 321.5
    assert read_measured(tmp_path / "none.tsv") is None


def estimated(seconds, flop=0.0, memory=100.0, disk=1.0):
    return Estimate(Range(*seconds), Range.just(flop), memory, Range.just(disk))


def test_sums_count_shared_jobs_once_in_all():
    jobs = {
        "data": job("data", "prepare_data", outputs=("data",)),
        "a": job("a", "train", "data"),
        "b": job("b", "study", "data", threads=2),
        "one": job("one", "draw", "a", outputs=("figures/one.pdf",)),
        "two": job("two", "draw", "a", "b", outputs=("figures/two.pdf",)),
    }
    estimates = {
        "data": estimated((10, 10)),
        "a": estimated((20, 50), flop=1e12, memory=900.0),
        "b": estimated((40, 40)),
        "one": estimated((1, 1)),
        "two": estimated((1, 1)),
    }
    one, two, everything = rows(jobs, estimates, gpu_rate=1e10)
    assert (one.jobs, two.jobs, everything.jobs) == (3, 4, 5)
    assert one.core_seconds == (31, 61)
    assert two.core_seconds == (71, 101)
    assert everything.core_seconds == (72, 102)
    assert one.gpu_seconds == (100, 100)
    assert longest(jobs, estimates, 0) == 10 + 20 + 1
    assert wall_seconds(everything, 1) == (72, 102)
    assert wall_seconds(everything, 8) == (31, 61)
    assert (everything.memory_mb, everything.disk_mb) == (900, (5, 5))
    assert csv([one]).splitlines()[1].startswith("one,3,900,1e+12,1e+12,31,61,")


def test_numbers_are_shown_once_where_there_is_no_range():
    assert shown(Range(3600, 3600), hours) == "1"
    assert shown(Range(36, 3600 * 1234.4), hours) == "0.01 to 1,234"


def test_rates_that_come_with_the_project_are_of_all_kinds():
    found = Rates.read()
    assert set(found.work) == set(RATES.work)
    assert set(found.probes) == set(SAME)
    assert {"collect", "measure", "draw"} <= set(found.light)
    assert len(found.studies) > 15
