"""Linear warm-up, then a drop by a factor at some epochs."""

from pydantic import Field

from nets.settings import Count, Factor, Section


class Settings(Section):
    """Linear warm-up, then a drop by a factor at some epochs (the paper's Warmup20000Step25)."""

    warmup_updates: Count = Field(description="length of the linear warm-up, in updates")
    drop_epochs: tuple[Count, ...] = Field(description="epochs after the warm-up at which it drops")
    drop_factor: Factor = Field(description="factor of each drop")

    def factor(self, update: int, updates_per_epoch: int) -> float:
        """gamma_u = (u + 1) / N for u < N = ``warmup_updates``, then the product of the drops so far.

        Drop epochs are counted from update N + 1: the released code spends one update at factor 1
        when it hands over from the warm-up. Warmup20000Step25 is N = 20,000, drops of 0.75 at epochs
        2500, 5000 and 7500.
        """
        if update < self.warmup_updates:
            return (update + 1) / self.warmup_updates
        since_warmup = update - (self.warmup_updates + 1)
        drops = sum(since_warmup >= epoch * updates_per_epoch for epoch in self.drop_epochs)
        return float(self.drop_factor**drops)
