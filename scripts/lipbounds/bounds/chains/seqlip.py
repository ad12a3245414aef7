"""SeqLip, certified (Virmaux & Scaman, NeurIPS 2018)."""

from lipbounds.bounds.seqlip import seqlip as bound

__all__ = ["bound"]
