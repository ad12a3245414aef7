"""Damaged results are found, named and made again; ``python -m tests.fuzz.damage`` tries every case."""

import pytest
from tests.fuzz.damage import KINDS, WAYS, check, damaged, reproducible

pytestmark = pytest.mark.slow


# each kind once, and each way; the others at other times
CASES = [(kind, list(WAYS)[place % len(WAYS)], place % 3 > 0) for place, kind in enumerate(KINDS)]


@pytest.mark.parametrize(("kind", "way", "kept_time"), CASES)
def test_damage_is_found_named_and_mended(finished, tmp_path, kind, way, kept_time):
    project = damaged(finished, tmp_path, kind, way, kept_time=kept_time)
    assert not check(project, reproducible(finished), kind, way)
