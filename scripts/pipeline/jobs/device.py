"""Choice of the device that a job runs on."""

import torch

from pipeline.jobs.command import CommandError


def choose_device(name: str) -> torch.device:
    """``auto`` is a CUDA device if there is one. Raises :class:`CommandError` if ``cuda`` is not."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise CommandError(
            "config.yaml: device: cuda is asked for, but torch finds no CUDA device on this "
            "machine; set device to auto or cpu, or run on a machine with a GPU"
        )
    return torch.device("cuda" if available and name != "cpu" else "cpu")
