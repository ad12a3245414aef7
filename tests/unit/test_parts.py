"""Parts found by folder, and settings read from files that are not run."""

import os
import re
import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError
from tests.conftest import ROOT

from nets import parts
from nets.settings import Family
from nets.training.loss import loss_named


def has_settings(kind, name):
    return hasattr(parts.load(kind, name), "Settings")


ALL = [(kind, name) for kind in parts.FOLDERS for name in parts.names(kind)]
WITH_SETTINGS = [part for part in ALL if has_settings(*part)]


def write(folder, text):
    path = folder / "part.py"
    path.write_text(text)
    return path


def test_every_kind_has_parts():
    assert {kind for kind, _ in ALL} == set(parts.FOLDERS)
    for kind in ("model", "schedule", "optimizer"):
        assert all((kind, name) in WITH_SETTINGS for name in parts.names(kind))
    assert ("penalty", "regularisation") in WITH_SETTINGS


@pytest.mark.parametrize(("kind", "name"), WITH_SETTINGS)
def test_settings_read_are_those_of_the_module(kind, name):
    read, imported = parts.settings_of(kind, name), parts.load(kind, name).Settings
    assert read is not imported
    assert read.model_json_schema() == imported.model_json_schema()
    assert read.model_config == imported.model_config
    assert read.__doc__ == imported.__doc__


@pytest.mark.parametrize(("kind", "name"), [part for part in ALL if part not in WITH_SETTINGS])
def test_parts_without_settings_have_none_to_read(kind, name):
    with pytest.raises(LookupError, match=rf"{name}\.py has no class Settings"):
        parts.settings_of(kind, name)


def test_validators_of_the_model_are_read():
    settings = parts.settings_of("model", "fcn")
    with pytest.raises(ValidationError, match="1 factors for 2 hidden layers"):
        settings(
            hidden_layers=2, output_activation="relu", minimum_alive_share=0, relative_widths=(1.0,)
        )


def test_reading_imports_nothing_heavy():
    code = f"""
import sys
from nets import parts
from nets.settings import Family
for kind, name in {WITH_SETTINGS!r}:
    parts.settings_of(kind, name)
heavy = {{"torch", "numpy", "scipy", "pandas", "matplotlib", "mnist1d", "lipbounds"}}
print(*sorted(heavy & sys.modules.keys()))
print(*sorted(m for m in sys.modules if m.startswith("nets.")))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
        text=True,
        capture_output=True,
        check=True,
    )
    heavy, ours = done.stdout.splitlines()
    assert heavy == ""
    assert ours.split() == ["nets.parts", "nets.settings"]


@pytest.mark.parametrize("kind", parts.FOLDERS)
@pytest.mark.parametrize("name", ["unheard_of", "__init__", "../parts", ""])
@pytest.mark.parametrize("function", [parts.load, parts.settings_of, parts.module_name])
def test_unknown_names_are_refused_with_the_known_ones(kind, name, function):
    known = re.escape(", ".join(parts.names(kind)))
    with pytest.raises(parts.UnknownPartError, match=f"{kind} {re.escape(repr(name))}; known: {known}$"):
        function(kind, name)


def test_a_file_without_settings_is_told_apart(tmp_path):
    path = write(tmp_path, "import torch\nfrom nets.settings import Section\n\nSettings = Section\n")
    with pytest.raises(LookupError, match=re.escape(f"{path} has no class Settings")):
        parts.read_settings(path)


def test_settings_imported_from_elsewhere_are_not_those_of_the_file(tmp_path):
    path = write(tmp_path, "from nets.settings import Section as Settings\n")
    with pytest.raises(LookupError, match="has no class Settings"):
        parts.read_settings(path)


PART = '''
"""A part."""

import a_package_that_is_not_installed
from another import Thing
from pydantic import Field, field_validator, model_validator
from nets.settings import Count, Section

TABLE = a_package_that_is_not_installed.table()


class Inner(Section):
    """Named below."""

    depth: Count = 1


class Settings(Section):
    """What is kept."""

    size: Count = Field(description="a size")
    inner: Inner = Inner()

    @field_validator("size")
    @classmethod
    def _is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("odd")
        return value

    @model_validator(mode="after")
    def _fits(self) -> "Settings":
        if self.size < self.inner.depth:
            raise ValueError("too deep")
        return self

    @property
    def doubled(self) -> int:
        return 2 * self.size

    def build(self) -> Thing:
        return Thing(self.size)


class Part(Thing):
    """Of another base: dropped."""
'''


def test_methods_and_validators_are_kept_without_the_types_of_torch(tmp_path):
    settings = parts.read_settings(write(tmp_path, PART))
    assert settings(size=4).doubled == 8
    assert settings.build.__annotations__ == {}
    for values, message in (
        ({"size": 3}, "odd"),
        ({"size": 2, "inner": {"depth": 3}}, "too deep"),
        ({"size": 2, "shape": 1}, "shape"),
        ({"size": "2"}, "integer"),
    ):
        with pytest.raises(ValidationError, match=message):
            settings(**values)


def test_settings_with_methods_alone_are_empty(tmp_path):
    text = (
        "class Settings(Section):\n    def factor(self, update: Tensor) -> Tensor:\n        return 1\n"
    )
    settings = parts.read_settings(write(tmp_path, f"from nets.settings import Section\n{text}"))
    assert settings.model_fields == {}
    assert settings().factor(3) == 1


@pytest.mark.parametrize(
    ("text", "error"), [("class Settings(Section:\n", SyntaxError), ("x: Missing\n", NameError)]
)
def test_files_that_cannot_be_read_say_so(tmp_path, text, error):
    if error is NameError:
        text = f"from nets.settings import Section\n\n\nclass Settings(Section):\n    {text}"
    path = write(tmp_path, text)
    with pytest.raises(error) as caught:
        parts.read_settings(path)
    if error is SyntaxError:
        assert caught.value.filename == str(path)


@pytest.mark.parametrize("name", parts.names("loss"))
def test_gradients_of_losses_are_those_of_autograd(name):
    loss = loss_named(name)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 7, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 5, (7,), generator=generator)
    onehot = torch.nn.functional.one_hot(labels, 5).T.double()
    leaf = logits.clone().requires_grad_()
    values = loss.values(leaf, onehot)
    assert values.shape == (3, 7)
    (expected,) = torch.autograd.grad(values.sum(), leaf)
    out = torch.full_like(logits, torch.nan)
    loss.gradient(logits, onehot, out)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-14)


VALUES = {
    "cross_entropy": lambda logits, labels: torch.nn.functional.cross_entropy(logits, labels),
    "mean_squared_error": lambda logits, labels: (
        torch.nn.functional.mse_loss(
            logits, torch.nn.functional.one_hot(labels, logits.shape[1]).to(logits), reduction="sum"
        )
        / len(labels)
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_of_losses_are_those_of_torch(name):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 5, 7, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 5, (7,), generator=generator)
    onehot = torch.nn.functional.one_hot(labels, 5).T.double()
    found = loss_named(name).values(logits, onehot).mean(1)
    expected = torch.stack([VALUES[name](own.T, labels) for own in logits])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", parts.names("model"))
def test_every_family_builds_nets(name):
    assert issubclass(parts.load("model", name).Settings, Family)
    assert parts.load("model", name).Settings.build is not Family.build


def test_a_family_without_nets_is_named():
    with pytest.raises(NotImplementedError, match=r"nets\.settings has no build"):
        Family().build(1, (2,), 3)


@pytest.mark.parametrize("name", parts.names("penalty"))
def test_every_penalty_has_a_form(name):
    settings = parts.load("penalty", name).Settings
    assert hasattr(settings, "stacked") or hasattr(settings, "plain")
