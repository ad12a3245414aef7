import numpy as np
import pytest

from papers.khromov_singh_2024.schedules import figure, study
from pipeline.config.loading import load_config
from pipeline.config.training import Training
from tests.papers.helpers import job_context, measured_and_drawn
from tests.papers.training_runs import RAW, made_up_arrays, made_up_run

ROOM = "schedules"
SETTINGS = study.Settings(most_updates=100_000)
CONTEXT = job_context(ROOM, SETTINGS)


def of(training, scale="paper", **changed):
    """How a training at a scale trains, with other settings."""
    own = load_config(RAW | {"scale": scale}).setup(training).training.model_dump(mode="json")
    return Training.model_validate(own | {"batch_size": 4} | changed)


@pytest.fixture
def rates(tmp_path):
    """The table of the study for runs that train so, by experiment."""

    def found(**trainings):
        runs = []
        for name, training in trainings.items():
            run = made_up_run(tmp_path / name)
            runs.append(run.model_copy(update={"experiment": name, "training": training}))
        return study.study(SETTINGS, made_up_arrays(), runs)

    return found


def by_name(table, context=CONTEXT):
    return {
        name: schedule
        for schedule in figure.measure({ROOM: table}, context)["schedules"]
        for name in schedule["users"]
    }


def test_the_setups_of_the_paper_have_its_schedules(rates):
    found = by_name(rates(sweep=of("double_descent"), capped=of("constrained/cap~0")))
    assert found["sweep"]["in_the_paper"] == "Warmup20000Step25"
    assert found["capped"]["in_the_paper"] == "Cont100"


def test_another_schedule_has_no_name(rates):
    schedule = of("double_descent").schedule.model_dump()
    late = of("double_descent", schedule=schedule | {"drop_epochs": [2500, 5000, 7501]})
    assert by_name(rates(late=late))["late"]["in_the_paper"] is None
    laptop = of("double_descent", scale="laptop")
    assert by_name(rates(laptop=laptop))["laptop"]["in_the_paper"] is None


def test_rates_are_those_of_the_schedule_between_the_corners(rates):
    training = of("double_descent", scale="laptop")
    table = rates(sweep=training)
    assert set(table["updates_per_epoch"]) == {8}
    found = np.interp([0, 1999, 31_999, 32_000, 32_001, 36_001], table["update"], table["rate"])
    assert found == pytest.approx([0.2 / 4000, 0.1, 0.2, 0.2, 0.06, 0.018])
    assert table["cap"].unique() == [5000 * 8]


def test_trainings_share_a_curve_as_long_as_both_go_on(rates):
    long = of("double_descent", scale="laptop")
    table = rates(
        long=long,
        short=of("double_descent", scale="laptop", max_epochs=1000, learning_rate=0.1),
        other=of("double_descent_mse", scale="laptop"),
    )
    found = by_name(table)
    assert found["short"] is found["long"]
    assert found["long"]["users"]["short"] == {"base_rates": [0.1], "caps": [8000]}
    assert found["long"]["updates"][-1] == 39_999
    assert "long" not in found["other"]["users"]


def test_corners_are_where_the_line_bends():
    rates = np.concatenate([np.linspace(0.1, 1, 10), [1, 1, 0.5, 0.5]])
    assert study.corners(rates) == [0, 9, 11, 12, 13]
    assert study.corners(np.ones(1)) == [0]


def test_one_run_of_each_training_is_enough(tmp_path):
    run = made_up_run(tmp_path / "run")
    runs = [
        run.model_copy(update={"width": width, "noise": noise}) for width in (9, 3) for noise in (0, 50)
    ]
    assert [one.width for one in study.narrowest(runs)] == [3]
    few = run.model_copy(update={"training_points": 10})
    assert len(study.narrowest([*runs, few])) == 2


def test_it_draws_a_panel_per_form(rates):
    both = rates(sweep=of("double_descent"), capped=of("constrained/cap~0"))
    facts, drawing = measured_and_drawn(figure, {ROOM: both}, CONTEXT)
    assert len(drawing.axes) == 2
    assert len(facts["schedules"]) == 2
    only_one = both[both["experiment"] == "sweep"]
    _, drawing = measured_and_drawn(figure, {ROOM: only_one}, CONTEXT)
    assert len(drawing.axes) == 1
    assert drawing.axes[0].get_xlim()[1] == pytest.approx(1.12 * 80_001)
