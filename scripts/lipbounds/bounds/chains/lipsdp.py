"""LipSDP-Neuron by a semidefinite solver (Fazlyab et al., NeurIPS 2019)."""

from lipbounds.bounds.lipsdp import lipsdp_neuron as bound

__all__ = ["bound"]
