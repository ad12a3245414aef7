"""LipSDP-Neuron by descent, without a solver."""

from lipbounds.bounds.lipsdp import lipsdp_descent as bound

__all__ = ["bound"]
