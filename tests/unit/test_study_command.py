"""The command that runs studies, on one made up."""

import sys
from argparse import Namespace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

import study
from pipeline.jobs.command import CommandError


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (pd.DataFrame(), "room has nothing to measure.*lower learning_rate"),
        ([], "study.. of room returned list; return a DataFrame"),
    ],
)
def test_a_table_that_cannot_be_written_is_told(tmp_path, monkeypatch, returned, words):
    settings = SimpleNamespace(model_validate_json=lambda text: text)
    room = SimpleNamespace(Settings=settings, study=lambda settings, arrays: returned)
    monkeypatch.setitem(sys.modules, "room", room)
    table = tmp_path / "table.csv"
    given = Namespace(
        table=table, threads=torch.get_num_threads(), module="room", arrays=[], runs="[]", settings="{}"
    )
    with pytest.raises(CommandError, match=words):
        study.main(given)
    assert not table.exists()
