"""LipLT: loop transformation of every layer (Fazlyab et al., NeurIPS 2023)."""

from lipbounds.bounds.liplt import liplt as bound

__all__ = ["bound"]
