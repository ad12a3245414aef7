"""The base rate throughout."""

from nets.settings import Section


class Settings(Section):
    """The base rate throughout."""

    def factor(self, update: int, updates_per_epoch: int) -> float:
        """gamma = 1."""
        return 1.0
