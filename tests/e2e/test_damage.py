"""Damaged results are found, named and made again; ``python -m tests.fuzz.damage`` tries every case."""

import pytest
from tests.fuzz.damage import KINDS, WAYS, check, damaged, reproducible

pytestmark = pytest.mark.slow


# each way, and each kind once, of those that no job reads one; the others at other times
TRIED = [kind for kind in KINDS if kind not in ("epochs", "png", "manifest")]
CASES = [(kind, list(WAYS)[place % len(WAYS)], place % 3 > 0) for place, kind in enumerate(TRIED)]


@pytest.mark.parametrize(("kind", "way", "kept_time"), CASES)
def test_damage_is_found_named_and_mended(finished, tmp_path, kind, way, kept_time):
    project = damaged(finished, tmp_path, kind, way, kept_time=kept_time)
    assert not check(project, reproducible(finished), kind, way)
