"""Which jobs there are, in process and without running any."""

import re
from collections import Counter
from types import SimpleNamespace

import pytest
import yaml
from snakemake.api import SnakemakeApi
from snakemake.common import overwrite_function_params
from snakemake.exceptions import WorkflowError
from snakemake.settings.enums import Quietness, RerunTrigger
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings
from tests.conftest import ROOT

from pipeline.config.loading import load_config
from pipeline.plan.estimate import Planner
from pipeline.plan.rates import Rates
from pipeline.plan.report import rows
from pipeline.snakemake import private
from pipeline.snakemake.machine import check_memory
from pipeline.snakemake.private import planned_jobs
from pipeline.snakemake.setup import WorkflowSetup

PROFILE = yaml.safe_load((ROOT / "profiles/default/profile.yaml").read_bytes())
SMOKE = {"scale": "smoke"}
FIGURE = "figures/double_descent.pdf"
SWEEP = "scripts/papers/khromov_singh_2024/setups/double_descent.yaml"


def build(project, monkeypatch, targets=(FIGURE,), **config):
    """Snakemake's workflow object after a dry-run in the copied project."""
    monkeypatch.chdir(project.folder)
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow_api = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(config=config),
            snakefile=project.folder / "Snakefile",
            workdir=project.folder,
        )
        triggers = RerunTrigger.parse_choices_set(PROFILE["rerun-triggers"])
        dag_api = workflow_api.dag(DAGSettings(targets=frozenset(targets), rerun_triggers=triggers))
        dag_api.execute_workflow(executor="dryrun")
        return workflow_api._workflow


def count(workflow):
    return Counter(job.rule.name for job in workflow.dag.jobs)


def expected(widths):
    return {
        "prepare_data": 1,
        "inject_noise": 1,
        "train": widths,
        "estimate_bounds": widths,
        "collect": 1,
        "measure": 1,
        "draw": 1,
    }


@pytest.mark.parametrize(("scale", "widths"), [("smoke", 3), ("laptop", 10), ("paper", 16)])
def test_jobs_of_each_scale(project, monkeypatch, scale, widths):
    assert count(build(project, monkeypatch, scale=scale)) == expected(widths)


def test_another_width_is_two_more_jobs(project, monkeypatch):
    project.edit(SWEEP, "widths: [16, 80, 256]", "widths: [16, 80, 256, 64]")
    assert count(build(project, monkeypatch, scale="smoke")) == expected(4)


def test_all_figures_are_the_default(project, monkeypatch):
    jobs = count(
        build(project, monkeypatch, targets=("figures", "figures_images", "tables"), scale="smoke")
    )
    rooms = {path.parent.name for path in project.folder.glob("scripts/papers/*/*/figure.yaml")}
    tables = {path.parent.name for path in project.folder.glob("scripts/papers/*/*/table.yaml")}
    studies = list(project.folder.glob("scripts/papers/*/*/study.py"))
    assert jobs["draw"] == len(rooms)
    assert jobs["make_table"] == len(tables)
    assert jobs["measure"] == len(rooms) + len(tables)
    assert jobs["study"] == len(studies)
    assert jobs["train"] == jobs["estimate_bounds"] + 2  # ResNets, which are measured by a study alone
    assert jobs["prepare_data"] >= 3  # MNIST-1D, MNIST, CIFAR-10


def test_a_study_is_one_job_and_one_figure(project, monkeypatch):
    targets = ("figures/seqlip_ideal.pdf",)
    assert count(build(project, monkeypatch, targets=targets)) == {
        "study": 1,
        "measure": 1,
        "draw": 1,
    }
    targets = ("figures/seqlip_cnn.pdf",)
    assert count(build(project, monkeypatch, targets=targets)) == {
        "prepare_data": 1,
        "study": 1,
        "measure": 1,
        "draw": 1,
    }
    targets = ("figures/seqlip_cnn_mnist.pdf",)
    assert count(build(project, monkeypatch, targets=targets)) == {
        "download": 1,
        "prepare_data": 1,
        "study": 1,
        "measure": 1,
        "draw": 1,
    }


@pytest.mark.parametrize(("scale", "strengths"), [("smoke", 2), ("laptop", 7), ("paper", 7)])
def test_each_strength_of_regularisation_is_trained_once(project, monkeypatch, scale, strengths):
    workflow = build(project, monkeypatch, ("figures/lipschitz_training.pdf",), scale=scale)
    assert count(workflow) == expected(strengths)
    folders = {str(job.output.summary) for job in workflow.dag.jobs if job.rule.name == "train"}
    assert len(folders) == strengths
    root = f"results/{scale}/lipschitz_training"
    assert f"{root}/strength~100000/noise~0/width~256/run.json" in folders
    settings = [job.params.settings for job in workflow.dag.jobs if job.rule.name == "train"]
    assert sum('"regularisation"' not in text for text in settings) == 1


def trained(workflow):
    return sorted(str(job.output.summary) for job in workflow.dag.jobs if job.rule.name == "train")


def test_figures_that_need_the_same_net_share_it(project, monkeypatch):
    """Four figures of one sweep need no more training than one of them."""
    one = build(project, monkeypatch, ("figures/double_descent.pdf",), scale="laptop")
    several = [
        f"figures/{n}.pdf" for n in ("double_descent", "initialisation", "sandwich", "adversarial")
    ]
    assert trained(build(project, monkeypatch, tuple(several), scale="laptop")) == trained(one)
    depth = trained(build(project, monkeypatch, ("figures/sample_size.pdf",), scale="laptop"))
    assert "results/laptop/double_descent/noise~0/width~256/run.json" in depth


def test_figures_are_made_without_downloads_but_those_of_images(project, monkeypatch):
    jobs = count(build(project, monkeypatch, ("figures", "tables", "claims"), scale="smoke"))
    assert "download" not in jobs
    images = build(project, monkeypatch, ("figures_images",), scale="smoke")
    drawn = {job.wildcards.figure for job in images.dag.jobs if job.rule.name == "draw"}
    assert {"cnn_cifar10", "cnn_mnist", "cnn_cifar100", "label_noise_cnn"} <= drawn
    assert "double_descent" not in drawn
    assert count(images)["download"] == 3


def test_claims_are_judged_without_simulations(project, monkeypatch):
    jobs = count(build(project, monkeypatch, ("claims",), scale="smoke", simulations=0))
    assert "simulate" not in jobs
    assert jobs["judge_claims"] == 1


def test_images_that_are_not_to_be_had_are_left_out(project, monkeypatch):
    workflow = build(project, monkeypatch, ("claims_images",), scale="smoke", without=["cifar100"])
    assert count(workflow)["download"] == 2
    judged = {
        str(file) for job in workflow.dag.jobs if job.rule.name == "judge_claims" for file in job.input
    }
    assert "results/smoke/facts/cnn_mnist.json" in judged
    assert "results/smoke/facts/cnn_cifar100.json" not in judged


def test_every_run_of_every_figure_is_trained_once(project, monkeypatch):
    workflow = build(
        project, monkeypatch, ("figures", "figures_images", "tables", "claims"), scale="laptop"
    )
    settings = [
        (job.params.settings, str(job.input.labels), job.wildcards.width)
        for job in workflow.dag.jobs
        if job.rule.name == "train"
    ]
    assert len(set(settings)) == len(settings)
    assert count(workflow)["judge_claims"] == 1


def test_scales_never_share_results(project, monkeypatch):
    outputs = {}
    for scale in ("smoke", "laptop"):
        workflow = build(project, monkeypatch, scale=scale)
        outputs[scale] = {
            str(file)
            for job in workflow.dag.jobs
            if job.rule.name in ("train", "estimate_bounds", "collect")
            for file in job.output
        }
    assert not outputs["smoke"] & outputs["laptop"]


def test_noise_level_changes_labels_and_all_after_them(project, monkeypatch):
    project.edit(SWEEP, "percent: 0,", "percent: 20,")
    workflow = build(project, monkeypatch, scale="smoke")
    outputs = {str(file) for job in workflow.dag.jobs for file in job.output}
    assert "results/labels/mnist1d/pair_swap~42/noise~20/labels.safetensors" in outputs
    assert "results/smoke/double_descent/noise~20/width~80/run.json" in outputs
    assert "results/data/mnist1d/arrays.safetensors" in outputs


@pytest.mark.parametrize(
    ("points", "percent", "labels"),
    [
        (1000, 20, "pair_swap~42~of~1000/noise~20"),
        (1000, 0, "pair_swap~42/noise~0"),  # the same labels, and trainings shared with others
        (4000, 20, "pair_swap~42/noise~20"),  # all there are
    ],
)
def test_noise_is_among_the_points_that_a_training_takes(project, monkeypatch, points, percent, labels):
    settings = {"training_points": points, "label_noise.percent": percent}
    overrides = {"double_descent.smoke": settings}
    workflow = build(project, monkeypatch, scale="smoke", overrides=overrides)
    outputs = {file for job in workflow.dag.jobs for file in job.output}
    assert f"results/labels/mnist1d/{labels}/labels.safetensors" in outputs
    assert sum("results/labels/" in file for file in outputs) == 1


def test_every_rule_logs_measures_and_says_what_it_does(project, monkeypatch):
    workflow = build(project, monkeypatch, scale="smoke")
    for job in workflow.dag.jobs:
        assert job.log, job.rule.name
        assert job.benchmark, job.rule.name
        assert job.message, job.rule.name


def test_no_absolute_paths(project, monkeypatch):
    workflow = build(project, monkeypatch, scale="smoke")
    for job in workflow.dag.jobs:
        for file in (*job.input, *job.output, *job.log):
            assert not str(file).startswith("/"), file


def test_widest_nets_are_trained_first(project, monkeypatch):
    jobs = [j for j in build(project, monkeypatch, scale="laptop").dag.jobs if j.rule.name == "train"]
    by_priority = sorted(jobs, key=lambda job: job.priority, reverse=True)
    assert [int(job.wildcards.width) for job in by_priority][:3] == [512, 256, 192]


def test_a_gpu_is_reserved_only_when_one_is_asked_for(project, monkeypatch):
    for device, gpus in (("cuda", 1), ("auto", 0)):
        workflow = build(project, monkeypatch, scale="smoke", device=device)
        (reserved,) = {j.resources["gpu"] for j in workflow.dag.jobs if j.rule.name == "train"}
        assert reserved == gpus


def test_a_job_for_which_there_is_not_enough_memory_is_refused(project, monkeypatch):
    workflow = build(project, monkeypatch, scale="smoke")
    setup = WorkflowSetup(load_config(yaml.safe_load((ROOT / "config.yaml").read_bytes()) | SMOKE))
    all_jobs = SimpleNamespace(dag=SimpleNamespace(needrun_jobs=lambda: list(workflow.dag.jobs)))
    check_memory(all_jobs, setup, 3000)
    words = r"train .* needs about [\d,]+ MB of memory, and this machine has 500 MB\. So do"
    with pytest.raises(WorkflowError, match=words):
        check_memory(all_jobs, setup, 500)


def test_unknown_figure_lists_the_known_ones(project, monkeypatch):
    with pytest.raises(WorkflowError) as caught:
        build(project, monkeypatch, targets=("figures/unknown.pdf",))
    assert "there is no figure named unknown" in str(caught.value)
    assert "double_descent" in str(caught.value)


def test_mistakes_in_the_configuration_stop_before_any_job(project, monkeypatch):
    with pytest.raises(WorkflowError) as caught:
        build(project, monkeypatch, scale="hueg", devise="cpu")
    message = str(caught.value)
    assert "2 mistakes" in message
    assert "--config: scale: 'hueg' is not known" in message
    assert "nearest valid name: device" in message


def test_rule_files_are_short_and_say_what_they_need_and_make(project):
    for path in (project.folder / "rules").glob("*.smk"):
        text = path.read_text()
        assert len(text.splitlines()) <= 120, path.name
        assert re.match(r'""".*REQUIRED INPUTS.*OUTPUTS.*?"""', text, re.DOTALL), path.name
    assert len((project.folder / "Snakefile").read_text().splitlines()) <= 70


def test_overrides_reach_the_jobs(project, monkeypatch):
    overrides = {"double_descent.smoke.widths": [16, 24], "double_descent": {"smoke": {"seeds": 3}}}
    workflow = build(project, monkeypatch, scale="smoke", overrides=overrides)
    jobs = [job for job in workflow.dag.jobs if job.rule.name == "train"]
    assert sorted(int(job.wildcards.width) for job in jobs) == [16, 24]
    assert all('"seeds": 3' in job.params.settings for job in jobs)


def test_a_mistaken_override_names_where_it_was_given(project, monkeypatch):
    with pytest.raises(WorkflowError) as caught:
        build(project, monkeypatch, overrides={"double_descent.laptop.width": [16]})
    message = str(caught.value)
    assert "--config: overrides.double_descent.laptop.width: unknown key" in message
    assert "nearest valid name: widths" in message


def test_plan_has_the_jobs_of_the_dag(project, monkeypatch):
    jobs = planned_jobs(project.folder, [FIGURE], scale="smoke")
    workflow = build(project, monkeypatch, scale="smoke")
    assert len(jobs) == len(list(workflow.dag.jobs)) == sum(expected(3).values())
    setup = WorkflowSetup(load_config(yaml.safe_load((ROOT / "config.yaml").read_bytes()) | SMOKE))
    factors = {"padded": 1.0, "calls": 1.0, "bytes": 1.0}
    planner = Planner(setup, Rates.read(), factors, project.folder)
    figure, everything = rows(jobs, {name: planner.estimate(job) for name, job in jobs.items()}, 1e12)
    assert (figure.target, figure.jobs, everything.jobs) == ("double_descent", len(jobs), len(jobs))
    assert 0 < figure.flop.least < figure.flop.most
    assert 0 < figure.chain_seconds.most < figure.core_seconds.most < 300


def test_answers_are_the_same_for_all_jobs_of_a_training(project, monkeypatch):
    asked = Counter()
    own = WorkflowSetup.code

    def code(self, command, modules=()):
        asked[command] += 1
        return own(self, command, modules)

    monkeypatch.setattr(WorkflowSetup, "code", code)
    widths = {"overrides": {"double_descent": {"smoke": {"widths": list(range(1, 21))}}}}
    workflow = build(project, monkeypatch, **SMOKE, **widths)
    assert count(workflow)["train"] == 20
    # once for each set-up, and one more where Snakemake reads the Snakefile twice
    assert asked["train"] <= 2
    assert asked["estimate_bounds"] <= 2


class TestPlansOfManyJobs:
    """What is put in the place of functions of Snakemake's."""

    def test_arguments_of_functions_are_those_of_python(self):
        class Resource:
            def evaluate(self, wildcards, attempt):
                pass

        def stated(*args):
            pass

        overwrite_function_params(stated, ["input"])
        assert list(private._arguments_of(lambda wildcards, input: None)) == ["wildcards", "input"]
        for one in (Resource(), Resource()):
            assert list(private._arguments_of(one.evaluate)) == ["wildcards", "attempt"]
        assert private._arguments_of(stated) == ["input"]

    @pytest.mark.parametrize(
        ("dryrun", "quiet", "said"),
        [(True, Quietness.RULES, 0), (False, Quietness.RULES, 1), (True, Quietness.HOST, 1)],
    )
    def test_only_plans_that_hide_jobs_say_nothing_of_them(self, monkeypatch, dryrun, quiet, said):
        heard = []
        monkeypatch.setattr(private, "_own_log_info", lambda job, *how: heard.append(job))
        output = SimpleNamespace(quiet={quiet})
        workflow = SimpleNamespace(dryrun=dryrun, output_settings=output)
        private._log_info(SimpleNamespace(dag=SimpleNamespace(workflow=workflow)))
        assert len(heard) == said
