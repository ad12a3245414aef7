"""Times functions of the authors' released code, in a process of its own.

Reads one JSON request per line and answers with the seconds that one call took. The released code
is a checkout that the caller names; nothing of it is part of this project.
"""

import json
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import timed_nets


def import_peer(checkout: Path) -> tuple[types.ModuleType, types.ModuleType]:
    """The modules ``lipschitz`` and ``train`` of the checkout, without their logging packages."""
    unused = (
        ("torch.utils.tensorboard", "SummaryWriter"),
        ("vit_pytorch", "ViT"),
        ("tbparse", "SummaryReader"),
    )
    for name, attribute in unused:
        stub = types.ModuleType(name)
        setattr(stub, attribute, object)
        sys.modules[name] = stub
    sys.path.insert(0, str(checkout / "code"))
    import lipschitz

    import train

    return lipschitz, train


def jacobian_norms(peer: types.ModuleType, model: nn.Module, x: torch.Tensor, batch: int) -> Callable:
    """All norms of ``x``, in batches, as the released lower bound takes them."""
    return lambda: [peer.compute_jac_norm(model, part.clone()) for part in x.split(batch)]


def epoch(peer: types.ModuleType, model: nn.Module, data: dict[str, torch.Tensor]) -> Callable:
    """One epoch of the released training loop: updates, full gradient, test pass."""
    loaders = [
        DataLoader(TensorDataset(data[f"x_{part}"], data[f"y_{part}"]), batch_size=512)
        for part in ("train", "test")
    ]
    loss = nn.CrossEntropyLoss(reduction="sum")
    optimiser = torch.optim.SGD(model.parameters(), lr=0.005)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda update: 1.0)
    cpu = torch.device("cpu")

    def run() -> None:
        model.train()
        peer.train_model_epoch(model, loaders[0], loss, optimiser, scheduler, cpu, 0)
        peer.compute_loss_and_grad_vector_of_params(model, loaders[0], loss, cpu)
        model.eval()
        peer.test_model_epoch(model, loaders[1], loss, cpu)

    return run


def main() -> None:
    """Serve requests until the input ends."""
    checkout, data_file, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    lipschitz, train = import_peer(Path(checkout))
    data = load_file(data_file)
    known: dict[str, Callable] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if line not in known:
            model = timed_nets.build(request["net"])
            if request["task"] == "jacobian":
                x = timed_nets.points(request["net"], data)
                known[line] = jacobian_norms(lipschitz, model, x, request["batch"])
            else:
                known[line] = epoch(train, model, data)
        started = time.perf_counter()
        known[line]()
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
