"""A drop by a factor every so many epochs."""

from pydantic import Field

from nets.settings import Count, Factor, Section, Share


class Settings(Section):
    """A drop by a factor every so many epochs (the paper's Cont100 is 0.95 every 100)."""

    drop_every_epochs: Count = Field(description="epochs between drops")
    drop_factor: Factor = Field(description="factor of each drop")
    minimum_factor: Share = Field(
        0.0, description="the factor never falls below this (1e-3 in Cont100LimitLR)"
    )

    def factor(self, update: int, updates_per_epoch: int) -> float:
        """A drop by ``drop_factor`` every ``drop_every_epochs``, never below ``minimum_factor``."""
        drops = update // (self.drop_every_epochs * updates_per_epoch)
        return max(float(self.drop_factor**drops), self.minimum_factor)
