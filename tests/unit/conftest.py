"""What several unit tests share."""

import pytest

from lipbounds.threads import one_thread


@pytest.fixture
def single_threaded():
    """One thread, for many small operations that several threads would only wait for each other in."""
    with one_thread():
        yield
