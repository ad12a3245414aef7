"""A model that a test writes as a function."""

from torch import nn


class Function(nn.Module):
    """A module that computes ``function(self, x)`` with the parts given."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)
