"""How nets begin, and which random initialisations can be trained at all.

A ReLU behind the output passes no gradient where its input is negative. When the logit of a class
starts negative on nearly all points of that class, it usually dies there for good, whatever the
learning rate, and the net never learns the class. On MNIST-1D about one in five of PyTorch's
default initialisations has a class with less than 5 % of its points alive.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from nets.settings import Family
from nets.training.points import as_inputs


@torch.no_grad()
def alive_share(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Smallest share, over classes, of the class's own points on which its logit is positive.

    ``x`` is (n, *shape) and ``y`` (n,) int64; classes without points do not count.
    """
    own = model(as_inputs(x)).gather(1, y.unsqueeze(1)).squeeze(1) > 0
    alive = torch.bincount(y, weights=own.double())
    return float((alive / torch.bincount(y)).nan_to_num(nan=1.0).min())


def first_accepted(
    candidates: Iterable[nn.Module], accepts: Callable[[nn.Module], bool], limit: int = 1000
) -> nn.Module:
    """The first of ``candidates`` that is accepted.

    Raises ``ValueError`` when none of the first ``limit`` is.
    """
    for model in islice(candidates, limit):
        if accepts(model):
            return model
    raise ValueError(
        f"none of {limit} initialisations was accepted; lower what the model asks of them, such as "
        "model.minimum_alive_share"
    )


@torch.no_grad()
def check_outputs(net: nn.Module, x: Tensor, classes: int) -> None:
    """Raise ``ValueError`` for a net that does not map two of the points to logits (2, classes)."""
    training, few = net.training, as_inputs(x[:2])
    try:
        found = tuple(net.eval()(few).shape)
    except RuntimeError as error:
        raise ValueError(f"the net cannot take points {tuple(x.shape[1:])}: {error}") from error
    finally:
        net.train(training)
    if found != (len(few), classes):
        raise ValueError(
            f"the net maps {len(few)} points {tuple(x.shape[1:])} to {found}; "
            f"it must give ({len(few)}, {classes}), one logit per class"
        )


def seeded(family: Family, seed: int, width: int, shape: Sequence[int], classes: int) -> nn.Module:
    """A net of a family, initialised from ``seed``; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return family.build(width, tuple(shape), classes)


def with_state(
    family: Family, state: Mapping[str, Tensor], width: int, shape: Sequence[int], classes: int
) -> nn.Module:
    """A net of a family with what a ``state_dict`` holds, which it takes over without a copy."""
    with torch.device("meta"):
        net = family.build(width, tuple(shape), classes)
    net.load_state_dict(state, assign=True)
    if any(tensor.is_meta for tensor in (*net.parameters(), *net.buffers())):
        # something that is no part of the state, such as a table made in the constructor
        net = seeded(family, 0, width, shape, classes)
        net.load_state_dict(state, assign=True)
    return net
