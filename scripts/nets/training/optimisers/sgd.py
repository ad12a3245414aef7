"""Plain stochastic gradient descent, without momentum or weight decay (the paper)."""

from nets.settings import Section


class Settings(Section):
    """Plain stochastic gradient descent (the paper)."""


def optimiser(settings: Settings) -> None:
    """None: a stack does plain steps by itself."""
