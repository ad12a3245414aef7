import pytest

from nets.parts import UnknownPartError
from nets.training.schedule import build_schedule

PAPER = build_schedule(
    "warmup_step", warmup_updates=20_000, drop_epochs=[2500, 5000, 7500], drop_factor=0.75
)


@pytest.mark.parametrize(
    ("update", "factor"),
    [
        (0, 1 / 20_000),
        (9_999, 0.5),
        (19_999, 1.0),
        (20_000, 1.0),
        (20_001, 1.0),
        (40_000, 1.0),
        (40_001, 0.75),
        (60_000, 0.75),
        (60_001, 0.5625),
        (80_000, 0.5625),
        (80_001, 0.421875),
        (2_400_000, 0.421875),
    ],
)
def test_warmup20000step25_with_eight_updates_per_epoch(update, factor):
    assert PAPER(update, 8) == factor


@pytest.mark.parametrize(
    ("epoch", "factor"), [(0, 1), (99, 1), (100, 0.95), (5_000, 0.0769), (15_000, 4.56e-4)]
)
def test_cont100_drops_every_hundred_epochs(epoch, factor):
    schedule = build_schedule("exponential_step", drop_every_epochs=100, drop_factor=0.95)
    assert schedule(epoch * 391, 391) == pytest.approx(factor, rel=1e-3)
    assert schedule(epoch * 391 + 390, 391) == schedule(epoch * 391, 391)


def test_cont100limitlr_reaches_its_floor_at_epoch_13500():
    schedule = build_schedule(
        "exponential_step", drop_every_epochs=100, drop_factor=0.95, minimum_factor=1e-3
    )
    assert schedule(13_500 * 8 - 1, 8) > 1e-3
    assert schedule(13_500 * 8, 8) == 1e-3


def test_constant_is_one():
    assert build_schedule("constant")(10**6, 8) == 1


def test_unknown_schedule_is_refused():
    with pytest.raises(UnknownPartError, match="constant, exponential_step, warmup_step"):
        build_schedule("cosine")
