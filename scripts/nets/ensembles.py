"""Networks that differ in their seed: their mean, bias and variance.

Source: Khromov & Singh, ICLR 2024, section 4.1 and appendix S4.1 (figures 8, S18 and S20). The
error is the squared 2-norm of outputs minus targets, summed over classes.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_BATCH = 1000


class _Mean(nn.Module):
    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(copy.deepcopy(model) for model in models)

    def forward(self, x: Tensor) -> Tensor:
        """Mean over the networks, in the shape of one output."""
        total = self.models[0](x)
        for model in self.models[1:]:
            total = total + model(x)
        return total / len(self.models)


def mean_function(models: Sequence[nn.Module]) -> nn.Module:
    """The network ``x -> mean over models of model(x)``, made of copies of the ``models``.

    Its Jacobian is the mean of theirs. Raises ValueError without models.
    """
    if not models:
        raise ValueError("the mean of no networks is not defined")
    return _Mean(models)


@dataclass(frozen=True)
class BiasVariance:
    """The decomposition of the error of several seeds, means over the points in float64.

    ``bias_squared + variance = expected_loss`` up to rounding. The tensors (n,) are the same for
    each point; the one of the bias may be negative, as an unbiased estimate of a small number.
    """

    bias_squared: float
    variance: float
    expected_loss: float
    point_bias_squared: Tensor
    point_variance: Tensor
    point_loss: Tensor


def bias_variance(models: Sequence[nn.Module], x: Tensor, targets: Tensor) -> BiasVariance:
    """Bias and variance over seeds of networks at the points ``x`` (n, *input).

    Parameters
    ----------
    models
        One network (n, *input) -> (n, K) per seed, two at least; evaluated in eval mode on copies.
    x
        Points, in the dtype of the networks.
    targets
        One-hot labels or values, floating, (n, K).

    Raises
    ------
    ValueError
        For fewer than two networks, and targets that are not floating or not (n, K).

    Notes
    -----
    With S seeds, mean f' and expectation f of the outputs, the variance is the sum of squared
    distances from f' over S - 1, whose expectation is the variance over all seeds. The squared
    distance of f' from the targets exceeds that of f by variance / S on average, so that is taken
    off for the squared bias. Both are unbiased, and they add up to the mean loss of the seeds
    exactly: the mean loss is ``|f' - y|^2 + (S - 1) / S variance``.
    """
    outputs = _outputs(models, x)
    if targets.shape != outputs.shape[1:] or not targets.is_floating_point():
        raise ValueError(
            f"targets must be floating {tuple(outputs.shape[1:])}, not {tuple(targets.shape)} of "
            f"{targets.dtype}; give labels as one-hot rows"
        )
    targets = targets.to(outputs)
    variance = _variance(outputs)
    bias = (outputs.mean(0) - targets).square().sum(1) - variance / len(models)
    loss = (outputs - targets).square().sum(2).mean(0)
    return BiasVariance(
        bias_squared=bias.mean().item(),
        variance=variance.mean().item(),
        expected_loss=loss.mean().item(),
        point_bias_squared=bias,
        point_variance=variance,
        point_loss=loss,
    )


def output_variance(models: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Unbiased estimate of ``E |f(x) - E f(x)|^2`` over seeds at each of the points, float64 (n,).

    Arguments and errors are those of :func:`bias_variance`.
    """
    return _variance(_outputs(models, x))


def variance_bound(
    lipschitz_of_mean: float,
    lipschitz_per_seed: Tensor,
    x: Tensor,
    reference: Tensor,
    variance_at_reference: float,
    *,
    squared_mean: bool = False,
) -> float:
    """Bound of the variance over seeds, averaged over points, by Lipschitz constants.

    ``3 (C^2 + mean_s C_s^2) mean |x - x'|^2 + 3 Var f(x')``, with C of the mean function and C_s of
    the seeds.

    Parameters
    ----------
    lipschitz_of_mean
        C, a Lipschitz constant of :func:`mean_function`.
    lipschitz_per_seed
        C_s, shape (S,).
    x
        Points (n, *input).
    reference
        x', shape (*input). Zero in the paper; the mean of the points gives the smallest bound of
        the distances.
    variance_at_reference
        Var f(x'), from :func:`output_variance`.
    squared_mean
        Takes ``(mean_s C_s)^2`` as the paper does. That is at most ``mean_s C_s^2``, which the
        derivation needs, so the result need not be a bound.

    Returns
    -------
    float
        In units of squared logits. A bound only if the constants hold on the points and the
        reference: with lower estimates of them, such as the largest Jacobian norm over data, it is
        not guaranteed.

    Raises
    ------
    ValueError
        For shapes that do not fit and for negative constants.
    """
    if reference.shape != x.shape[1:]:
        raise ValueError(f"reference must be {tuple(x.shape[1:])}, not {tuple(reference.shape)}")
    constants = lipschitz_per_seed.double()
    if constants.dim() != 1 or len(constants) == 0:
        raise ValueError(f"lipschitz_per_seed must be (S,), not {tuple(constants.shape)}")
    if min(lipschitz_of_mean, constants.min().item(), variance_at_reference) < 0:
        raise ValueError("Lipschitz constants and variances are at least 0")
    per_seed = constants.mean().square() if squared_mean else constants.square().mean()
    distances = (x.detach().double() - reference.detach().double()).flatten(1).square().sum(1)
    slope = lipschitz_of_mean**2 + per_seed.item()
    return 3 * slope * distances.mean().item() + 3 * variance_at_reference


def _outputs(models: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Outputs (S, n, K) as float64."""
    if len(models) < 2:
        raise ValueError(f"a variance over seeds needs two networks at least, not {len(models)}")
    frozen = (copy.deepcopy(model).eval() for model in models)
    with torch.no_grad():
        return torch.stack(
            [
                torch.cat([model(part).flatten(1).double() for part in x.split(_BATCH)])
                for model in frozen
            ]
        )


def _variance(outputs: Tensor) -> Tensor:
    return outputs.var(0, correction=1).sum(1)
