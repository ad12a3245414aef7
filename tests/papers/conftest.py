"""What all tests of rooms need."""

import matplotlib.pyplot as plt
import pytest
from tests.conftest import ROOT

from pipeline.figures.looks import use_style


@pytest.fixture(autouse=True)
def _style():
    use_style(ROOT / "scripts" / "style.mplstyle")
    yield
    plt.close("all")
