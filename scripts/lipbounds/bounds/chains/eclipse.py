"""ECLipsE-Fast: a decomposition of LipSDP, layer by layer (Xu & Sivaranjani, NeurIPS 2024)."""

from lipbounds.bounds.lipsdp import eclipse_fast as bound

__all__ = ["bound"]
