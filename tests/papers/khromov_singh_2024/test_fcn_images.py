"""Fully connected nets on images, trained with the squared error."""

import json

import numpy as np
import pytest

from papers.khromov_singh_2024.fcn_images import figure as room
from pipeline.figures.tables import without_constant_nets
from tests.papers import width_tables as given

ON = {"fcn_cifar10": room.on_cifar10, "fcn_mnist": room.on_mnist}
MSE = {"threshold_width": 80, "training": given.TRAINING | {"loss": "mean_squared_error"}}
CONTEXT = {"scale": "laptop", "settings": dict.fromkeys(ON, MSE)}


def tables(**changed):
    return dict.fromkeys(ON, given.sweep()) | changed


def findings(**changed):
    """Of both claims, by data set."""
    facts = {"own": json.loads(json.dumps(room.measure(tables(**changed), CONTEXT)))}
    return {name: claim.judged("own", facts) for name, claim in ON.items()}


def dead_at(table, width, seed):
    """The table with one net whose hidden neurons are all dead."""
    dead = (table["width"] == width) & (table["seed"] == seed)
    zeros = {name: table[name].mask(dead, 0) for name in ("c_lower", "c_avg")}
    return without_constant_nets(table.assign(**zeros), "fcn_cifar10")


def test_each_data_set_has_its_own_verdict():
    found = findings(fcn_mnist=given.rising(given.sweep()))
    assert found["fcn_cifar10"].verdict == "holds", found["fcn_cifar10"]
    assert found["fcn_mnist"].verdict == "does not hold", found["fcn_mnist"]
    elsewhere = findings(fcn_cifar10=given.sweep(256))["fcn_cifar10"]
    assert "place of C_upper: does not hold 3.2" in elsewhere.reason


def test_nets_that_do_not_fit_say_nothing():
    unfit = given.sweep().assign(stop_reason="epoch_cap")
    finding = findings(fcn_mnist=unfit)["fcn_mnist"]
    given.check_untested(finding)
    assert "0 of 8 runs on the wide flank" in finding.reason


def test_constant_nets_are_counted_and_left_out():
    table = dead_at(given.sweep(), 16, 2)
    facts = given.as_json(room, tables(fcn_cifar10=table), CONTEXT)
    assert facts["fcn_cifar10"]["constant_nets"] == {"16": 1}
    assert facts["fcn_mnist"]["constant_nets"] == {}
    assert sum(facts["fcn_cifar10"]["stop_reasons"].values()) == len(table) - 1
    assert findings(fcn_cifar10=table)["fcn_cifar10"].verdict == "holds"


@pytest.mark.parametrize("lost", [False, True])
def test_it_draws_a_column_for_each_data_set(lost):
    table = given.sweep()
    if lost:
        names = ["c_lower", "c_avg", "log10_c_upper", "test_loss", "train_loss"]
        table = table.assign(stop_reason="diverged", **dict.fromkeys(names, np.nan))
    facts = given.as_json(room, tables(fcn_cifar10=table), CONTEXT)
    figure = room.draw(tables(fcn_cifar10=table), facts, CONTEXT)
    figure.canvas.draw()
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["a  CIFAR-10", "b  MNIST", "c  CIFAR-10", "d  MNIST"]
    assert figure.axes[2].get_ylabel() == "squared error"


@pytest.mark.parametrize("claim", ON.values(), ids=lambda claim: claim.name)
def test_without_facts_nothing_is_judged(claim):
    given.check_needs_facts(room, claim.name)
    for empty in given.degenerate(tables()):
        facts = json.loads(json.dumps(room.measure(empty, CONTEXT)))
        given.check_untested(claim.judged("own", {"own": facts}))
