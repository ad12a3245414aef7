import importlib
import re

import pytest

from pipeline.claims.claim import claims_in

CLAIMS = list(claims_in(importlib.import_module("papers.khromov_singh_2024.claims")))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_claims_about_what_is_not_here_are_not_tested_and_say_why(claim):
    found = claim.judged("", {})
    assert found.verdict == "not tested"
    assert re.search(r"\w{3}", found.reason)
    assert claim.explanation.startswith("Not tested: ")


def test_claims_without_a_figure_are_known():
    assert {"C30"} <= {claim.name for claim in CLAIMS}
