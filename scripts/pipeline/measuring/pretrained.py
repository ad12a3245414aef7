"""torchvision's architectures with weights from a checked file, or freshly initialised."""

import re
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision  # type: ignore[import-untyped]
from torch import Tensor, nn

from pipeline.jobs.command import CommandError
from pipeline.provenance.files import read_tensors, sha256

_PUBLISHED_NAME = re.compile(r"-([0-9a-f]{8})\.pth$")


class Loaded(NamedTuple):
    """A network in eval mode, and where its weights are from."""

    model: nn.Module
    origin: str
    pretrained: bool


def torchvision_model(name: str, weights: str | None, seed: int) -> Loaded:
    """The architecture ``name`` with the weights of a file, or initialised as torchvision does.

    ``weights`` is a safetensors file, or a file of torchvision's with its published name, whose
    checksum is checked before it is opened, and which may hold tensors only. Raises
    :class:`CommandError` if it is missing, altered, or made for another architecture.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = torchvision.models.get_model(name, weights=None).eval()
    if weights is None:
        return Loaded(model, f"random initialisation, seed {seed}", pretrained=False)
    path = Path(weights)
    try:
        model.load_state_dict(read_weights(path))
    except (RuntimeError, TypeError) as error:
        raise CommandError(f"{path} does not hold the weights of {name}: {error}") from None
    return Loaded(model, f"{path.name}, sha256 {sha256(path)[:16]}", pretrained=True)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a checked file of torchvision's.

    Raises :class:`CommandError`, or ``DamagedFileError`` for a damaged safetensors file.
    """
    if not path.is_file():
        raise CommandError(
            f"weights: there is no file {path}; download it from "
            "https://download.pytorch.org/models/, or set weights to null for a random initialisation"
        )
    if path.suffix == ".safetensors":
        return read_tensors(path)[0]
    published = _PUBLISHED_NAME.search(path.name)
    if published is None:
        raise CommandError(
            f"{path} is neither a .safetensors file nor named as torchvision publishes it "
            "(resnet18-f37072fd.pth: the last part is the start of its checksum)"
        )
    checksum = sha256(path)
    if not checksum.startswith(published[1]):
        raise CommandError(
            f"the checksum of {path} is {checksum}, which does not start with {published[1]} as its "
            "name says; download it again"
        )
    return torch.load(path, map_location="cpu", weights_only=True)
