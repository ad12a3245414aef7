"""What retrains what: an edit retrains the runs that use it, and nothing else does."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import ROOT, Project

from nets import parts
from pipeline.config.rooms import SCRIPTS
from pipeline.provenance.fingerprint import reachable

PROGRAM = """\
import json, sys, yaml
from pathlib import Path
root = Path(sys.argv[1])
sys.path.insert(0, str(root / "scripts"))
from pipeline.config.loading import load_config
from pipeline.snakemake.setup import WorkflowSetup
config = load_config(yaml.safe_load((root / "config.yaml").read_text()) | {"scale": "laptop"})
setup = WorkflowSetup(config)
found = {}
for name in setup.trainings:
    if name in config.trainings and config.trainings[name]["laptop"].variants:
        continue
    noise = str(config.setup(name).label_noise.percent)
    found["train " + name] = [
        setup.training_settings(name), setup.labels_identity(name, noise), setup.training_code(name)
    ]
    found["bounds " + name] = [setup.bounds_settings(name), setup.bounds_code(name)]
for name in setup.studies:
    settings = [config.study_job(name), setup.study_runs(name)]
    found["study " + name] = [*settings, setup.study_inputs_identity(name), setup.study_code(name)]
found["collect"] = [setup.code("collect")]
print(json.dumps(found))
"""


def identities(folder):
    """What every job depends on, by rule and name, in a copy of the project."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        cwd=folder,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    project = Project.copy_to(tmp_path_factory.mktemp("original"))
    return project, identities(project.folder)


@pytest.fixture
def changed(original, tmp_path):
    """The jobs whose identity an edit of some files changes."""
    project = Project(tmp_path / "copy")
    shutil.copytree(original[0].folder, project.folder)

    def after(*edits):
        for file, old, new in edits:
            project.edit(file, old, new)
        before, now = original[1], identities(project.folder)
        assert set(before) <= set(now)
        return {name for name in before if before[name] != now[name]}

    return after


NETS = "scripts/nets/"
PENALTIES = "scripts/nets/training/penalties/"
DEPTH = "scripts/papers/khromov_singh_2024/depth/figure.yaml"
MSE = {"double_descent_mse", "fcn_cifar10", "fcn_mnist", "regularisation"}
CNNS = ("cnn_cifar10", "cnn_cifar100", "cnn_mnist", "label_noise_cnn")
IMAGE_FAMILIES = (*CNNS, "vit_cifar10", "resnet20_cifar10", "resnet56_cifar10")
"""Trainings on images of nets that are not of the family fcn."""
OTHER_FAMILIES = (*IMAGE_FAMILIES, "evolution_signals", "dropout_and_decay/dropout")
"""Trainings of nets that are not of the family fcn."""
IMAGES = (*IMAGE_FAMILIES, "fcn_cifar10", "fcn_mnist")
"""Trainings on images."""


def trained(names):
    return {name.removeprefix("train ") for name in names if name.startswith("train ")}


def of(names):
    """Trainings without their variants."""
    return {name.split("/")[0] for name in names}


@pytest.mark.parametrize(
    ("file", "old", "new", "trainings"),
    [
        (f"{NETS}training/losses/mean_squared_error.py", "mul_(2)", "mul_(2.0)", MSE),
        (
            f"{NETS}training/schedules/exponential_step.py",
            "max(",
            "1 * max(",
            {"constrained", "one_factor_at_a_time", "theory"},
        ),
        (
            f"{NETS}training/penalties/jacobian_penalty.py",
            "_CANDIDATES = 16",
            "_CANDIDATES = 8",
            {"regularisation"},
        ),
        (
            f"{NETS}training/penalties/regularisation.py",
            "norms > self",
            "norms >= self",
            {"lipschitz_training"},
        ),
        (f"{PENALTIES}spectral_cap.py", "_ROUNDS = 4", "_ROUNDS = 5", {"constrained"}),
        (
            f"{NETS}training/optimisers/adam.py",
            "eps=self.epsilon",
            "eps=1.0 * self.epsilon",
            {"optimizer"},
        ),
        (f"{NETS}noise/uniform.py", "labels.copy()", "+labels", set()),
        (
            "scripts/papers/khromov_singh_2024/depth/figure.yaml",
            "learning_rate: 0.1",
            "learning_rate: 0.11",
            {"depth"},
        ),
    ],
)
def test_a_part_retrains_the_runs_that_use_it(changed, file, old, new, trainings):
    found = trained(changed((file, old, new)))
    assert of(found) == trainings
    if file.endswith(("penalty.py", "regularisation.py", "cap.py", "adam.py")):
        assert not any(name.endswith("~0") for name in found), "variants without the part do not use it"


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (f"{NETS}training/recipe.py", "CLIP_EPSILON = 1e-6", "CLIP_EPSILON = 1e-7"),
        (f"{NETS}models/fcn.py", "bias=False", "bias=bool(0)"),
        (f"{NETS}noise/pair_swap.py", "// 100 // 2", "// 200"),
        (f"{NETS}data/mnist1d.py", "e2cc88b6", "e2cc88b7"),
    ],
)
def test_what_all_runs_use_retrains_all(changed, original, file, old, new):
    everything = trained(original[1])
    if "models" in file:
        everything = {name for name in everything if not name.startswith(OTHER_FAMILIES)}
    if "mnist1d" in file:
        everything = {name for name in everything if not name.startswith(IMAGES)}
    assert trained(changed((file, old, new))) == everything


def test_a_bound_of_chains_concerns_what_can_ask_for_it(changed, original):
    """Bounds are chosen by name, which no walk over imports sees; `autolip` needs none of them."""
    found = changed(("scripts/lipbounds/bounds/liplt.py", ".item() * _COVER", ".item() * 1.0 * _COVER"))
    assert {name for name in found if not name.startswith("study ")} == set()
    assert {"study tightness", "study toy", "study seqlip_cnn"} <= found
    assert found < set(original[1])


UNTOUCHED = [
    ("scripts/pipeline/jobs/progress.py", "%s  epoch", "%s epoch"),
    ("scripts/pipeline/jobs/command.py", "SystemExit(1)", "SystemExit(2)"),
    ("scripts/pipeline/jobs/resume.py", "time.sleep(0.05)", "time.sleep(0.06)"),
    ("scripts/pipeline/provenance/files.py", "file.flush()", "file.flush(); file.flush()"),
    ("scripts/pipeline/runs/paths.py", "results/{scale}/facts", "results/{scale}/numbers"),
    ("scripts/pipeline/figures/looks.py", "alpha=0.18", "alpha=0.2"),
    ("scripts/train.py", '"--threads", type=int, default=1', '"--threads", type=int, default=2'),
    ("scripts/train.py", '"going on from epoch %d, found in %s"', '"resumed at epoch %d of %s"'),
    (f"{NETS}training/run.py", '"""One epoch of updates, then', '"""An epoch, then'),
    (
        f"{NETS}data/mnist1d.py",
        "def _build(_: Read) -> Arrays:\n",
        "def _build(_: Read) -> Arrays:\n    # made\n",
    ),
    ("config.yaml", "save_every: 20", "save_every: 3"),
    (DEPTH, "title: ", "title: 'x' # "),
]


@pytest.mark.parametrize(("file", "old", "new"), UNTOUCHED)
def test_what_numbers_do_not_depend_on_retrains_nothing(changed, file, old, new):
    assert changed((file, old, new)) == set()


def test_a_new_key_with_a_default_retrains_nothing(changed):
    assert (
        changed(
            (
                "scripts/pipeline/config/training.py",
                "    track_path: bool = Field(",
                "    more: NonNegative = Field(0)\n    track_path: bool = Field(",
            ),
            (
                f"{NETS}models/fcn.py",
                "    relative_widths: tuple",
                "    dropout: float = 0.0\n    relative_widths: tuple",
            ),
            (
                "scripts/papers/khromov_singh_2024/toy/study.py",
                "    model_seed: NonNegative = Field(",
                "    extra: NonNegative = Field(0)\n    model_seed: NonNegative = Field(",
            ),
        )
        == set()
    )


def test_a_default_that_is_written_out_retrains_nothing(changed):
    file = "scripts/papers/khromov_singh_2024/setups/double_descent.yaml"
    old = "        loss: cross_entropy\n"
    text = (ROOT / file).read_text()
    line = next(one for one in text.splitlines() if "loss: cross_entropy" in one)
    indent = " " * (len(line) - len(line.lstrip()))
    assert (
        changed((file, line, f"{line}\n{indent}temperature: 1.0\n{indent}optimizer: {{name: sgd}}"))
        == set()
    )
    assert old.strip() in text


def test_a_moved_module_retrains_nothing(original, tmp_path):
    project = Project(tmp_path / "copy")
    shutil.copytree(original[0].folder, project.folder)
    moves = {"nets.training.stacked": "nets.engine.stacks", "nets.training.epochs": "nets.engine.epochs"}
    (project.folder / "scripts/nets/engine").mkdir()
    (project.folder / "scripts/nets/engine/__init__.py").write_text('"""The engine."""\n')
    for old, new in moves.items():
        paths = [project.folder / "scripts" / f"{name.replace('.', '/')}.py" for name in (old, new)]
        paths[0].rename(paths[1])
    for path in (project.folder / "scripts").rglob("*.py"):
        text = path.read_text()
        for old, new in moves.items():
            text = re.sub(rf"from {re.escape(old)} import", f"from {new} import", text)
        path.write_text(text)
    assert identities(project.folder) == original[1]


def test_every_part_is_covered_by_the_runs_that_use_it_and_by_no_others(original):
    """A walk over imports does not see what is found by folder, so jobs hand these files in."""
    found = {str(path.relative_to(SCRIPTS)) for path in reachable([SCRIPTS / "train.py"])}
    for kind, folder in parts.FOLDERS.items():
        for name in parts.names(kind):
            file = f"nets/{folder}/{name}.py"
            assert file not in found, f"{file} counts for every run; import it by name where it is used"
    assert "nets/training/stacked.py" in found


def test_every_script_can_be_digested():
    from pipeline.provenance.fingerprint import fingerprint

    for path in [*SCRIPTS.glob("*.py"), *SCRIPTS.glob("papers/*/*/*.py")]:
        assert re.fullmatch(r"[0-9a-f]{16}", fingerprint([path])), path


EXEMPT = {
    "nets/parts.py",
    "nets/settings.py",
    "pipeline/config/config.py",
    "pipeline/config/errors.py",
    "pipeline/config/loading.py",
    "pipeline/config/rooms.py",
    "pipeline/config/sense.py",
    "pipeline/config/yaml_files.py",
    "pipeline/config/training.py",
    "pipeline/downloads/obtain.py",
    "pipeline/downloads/places.py",
    "pipeline/downloads/records.py",
    "pipeline/downloads/transfer.py",
    "pipeline/jobs/command.py",
    "pipeline/jobs/memory.py",
    "pipeline/jobs/packing.py",
    "pipeline/jobs/progress.py",
    "pipeline/jobs/gpu_slots.py",
    "pipeline/jobs/resume.py",
    "pipeline/provenance/files.py",
    "pipeline/provenance/fingerprint.py",
    "pipeline/provenance/tensor_file.py",
    "pipeline/runs/journal.py",
    "pipeline/provenance/seals.py",
    "pipeline/provenance/sidecar.py",
    "pipeline/runs/catalogue.py",
    "pipeline/runs/paths.py",
}
"""Modules that no number depends on, or only by what they hand to a job as its settings."""


def test_what_is_left_out_of_identities_is_listed_here():
    found = {
        str(path.relative_to(SCRIPTS))
        for path in SCRIPTS.rglob("*.py")
        if re.search(r"^AFFECTS_RESULTS = False", path.read_text(), re.M)
    }
    assert found == EXEMPT
    assert Path(SCRIPTS).name == "scripts"
