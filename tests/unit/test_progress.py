"""What a person who waits is told."""

import logging

import pytest
from tests.unit.engine import CROSS_ENTROPY, convolutional, fcn, make_run

from nets.training.recipe import Recipe
from pipeline.jobs.progress import Progress


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
    assert f"epoch 1/9  loss {loss:.4f}  gradient norm {norm:.4f}" in caplog.text
