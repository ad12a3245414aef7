"""A project whose figure has been made, for all whole workflows."""

import pytest
from tests.conftest import Project

FIGURE = "figures/double_descent.pdf"
RUN = (FIGURE, "--cores", "2", "--config", "scale=smoke")
PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A project whose figure has been made at smoke scale; do not change it.

    Its folder has a name that shells and locales have trouble with, and the locale is the plainest.
    """
    project = Project.copy_to(tmp_path_factory.mktemp("finished") / "a b 'c'")
    project.snakemake(*RUN, environment=PLAIN)
    return project
