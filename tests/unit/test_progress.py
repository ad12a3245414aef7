"""What a person who waits is told."""

import logging

import pytest
from tests.unit.engine import CROSS_ENTROPY, convolutional, fcn, make_run

from nets.training.recipe import Recipe
from pipeline.jobs import progress as module
from pipeline.jobs.progress import Progress, name_job


@pytest.mark.usefixtures("single_threaded")
@pytest.mark.parametrize("nets", [fcn, lambda: convolutional((12,))])
def test_loss_and_gradient_norm_are_means(nets, caplog):
    run = make_run(nets(), Recipe(CROSS_ENTROPY))
    run.start()
    run.advance()
    first = [record for record in run.store.records if record.epoch == 0]
    progress = Progress("width 8", 0.0, 0)
    with caplog.at_level(logging.INFO, logger="pipeline"):
        progress.report(run)
    loss = sum(record.train_loss for record in first) / len(first)
    norm = sum(record.gradient_norm for record in first) / len(first)
    assert f"epoch 1/9, loss {loss:.4f}, gradient {norm:.4f}" in caplog.text


@pytest.mark.usefixtures("single_threaded")
@pytest.mark.parametrize(
    ("name", "most"),
    [("lipschitz_training/strength~300000 noise 0 width 512", 125), ("depth noise 20 width 512", 100)],
)
def test_lines_tell_runs_apart_and_fit_a_terminal(name, most, caplog, monkeypatch):
    monkeypatch.setattr(module, "_job", "")
    name_job(name)
    run = make_run(fcn(), Recipe(CROSS_ENTROPY))
    run.start()
    run.advance()
    with caplog.at_level(logging.INFO, logger="pipeline"):
        Progress("width 8", 0.0, 0).report(run)
    line = caplog.messages[-1]
    assert line.startswith(name[:20])
    assert name[-20:] in line
    longer = len("40000/40000") - len("1/9") + len("1:00:00") - len("0:00")
    assert len(line) + longer <= most
