"""What a claim judged by tables is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

AnyTest = TypeVar("AnyTest", bound=Callable[..., object])


@dataclass(frozen=True)
class Claim(Generic[AnyTest]):
    """A statement of a paper that tables can speak against."""

    name: str
    source: str
    statement: str
    figure: str
    test: AnyTest

    @property
    def rule(self) -> str:
        """How the verdict is reached, in words."""
        return " ".join((self.test.__doc__ or "").split())
