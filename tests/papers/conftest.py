"""What all tests of rooms need."""

import matplotlib.pyplot as plt
import pytest

from lipbounds.threads import one_thread
from pipeline.figures.looks import use_style
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def _style():
    use_style(ROOT / "scripts" / "style.mplstyle")
    yield
    plt.close("all")


@pytest.fixture
def single_threaded():
    """One thread, for many small operations that several threads would only wait for each other in."""
    with one_thread():
        yield
