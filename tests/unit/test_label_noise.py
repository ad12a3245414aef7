from argparse import Namespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import inject_noise_among
from nets import parts
from nets.label_noise import inject
from nets.training.points import subset
from pipeline.provenance.files import read_arrays, write_arrays
from pipeline.provenance.seals import write_seal

KINDS = parts.names("noise")
BALANCED = np.tile(np.arange(10), 5000)

percents = st.integers(0, 100)
labels = st.lists(st.integers(0, 9), min_size=1, max_size=200).map(np.array)


@given(labels, percents)
def test_pair_swaps_keep_class_counts_and_move_the_right_share(clean, percent):
    positions = np.arange(len(clean))
    moved = inject(positions, percent, kind="pair_swap", classes=10)
    assert (moved != positions).sum() == 2 * (len(clean) * percent // 100 // 2)
    assert np.array_equal(moved[moved], positions), "swaps undo themselves"
    noisy = inject(clean, percent, kind="pair_swap", classes=10)
    assert np.array_equal(noisy, clean[moved])
    assert np.array_equal(np.bincount(noisy, minlength=10), np.bincount(clean, minlength=10))


@given(labels, percents, percents, st.sampled_from(KINDS))
def test_noise_is_nested_in_the_percentage(clean, one, other, kind):
    low, high = sorted((one, other))
    # positions as labels say exactly which points a level touches
    positions = np.arange(1000, 1000 + len(clean))
    at_low = inject(positions, low, kind=kind, classes=1000)
    at_high = inject(positions, high, kind=kind, classes=1000)
    touched = at_low != positions
    assert np.array_equal(at_low[touched], at_high[touched])


@pytest.mark.parametrize(
    ("percent", "differ"),
    [(0, 0), (10, 0.090), (20, 0.180), (50, 0.452), (90, 0.812), (100, 0.903)],
)
def test_share_of_labels_that_really_differ(percent, differ):
    noisy = inject(BALANCED, percent, kind="pair_swap", classes=10)
    assert (noisy != BALANCED).mean() == pytest.approx(differ, abs=0.004)


def test_pairs_are_those_of_the_published_permutation():
    np.random.seed(42)
    order = np.arange(4000)
    np.random.shuffle(order)
    swapped = inject(np.arange(4000), 20, kind="pair_swap", classes=10)
    pairs = order[:800].reshape(-1, 2)
    assert np.array_equal(swapped[pairs], pairs[:, ::-1])
    assert (swapped != np.arange(4000)).sum() == 800


def test_uniform_relabels_the_share_and_keeps_a_tenth_by_chance():
    noisy = inject(BALANCED, 40, kind="uniform", classes=10)
    assert (noisy != BALANCED).mean() == pytest.approx(0.4 * 0.9, abs=0.01)
    assert np.bincount(noisy, minlength=10).min() > 4500


@pytest.mark.parametrize("kind", KINDS)
def test_the_labels_handed_in_are_left_alone(kind):
    clean = BALANCED.copy()
    inject(clean, 100, kind=kind, classes=10)
    assert np.array_equal(clean, BALANCED)


@pytest.mark.parametrize("percent", [-1, 101])
def test_percentage_out_of_range_is_refused(percent):
    with pytest.raises(ValueError, match="0 to 100"):
        inject(BALANCED, percent, kind="pair_swap", classes=10)


def test_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="pair_swap, uniform"):
        inject(BALANCED, 10, kind="shuffle", classes=10)


@pytest.mark.parametrize(("points", "percent"), [(100, 10), (100, 30), (64, 50), (999, 100)])
def test_noise_among_some_points_is_the_stated_share_of_those_that_training_takes(
    tmp_path, points, percent
):
    clean = np.arange(1000)  # positions as labels say exactly which points are touched
    arrays, labels = tmp_path / "arrays.safetensors", tmp_path / "labels.safetensors"
    write_arrays(arrays, {"y_train": clean, "y_test": clean[:7]}, {"classes": 1000})
    write_seal(arrays)
    inject_noise_among.main(
        Namespace(
            arrays=arrays, points=points, kind="pair_swap", percent=percent, seed=42, labels=labels
        )
    )
    found, metadata = read_arrays(labels)
    taken = subset(1000, points)  # what training_subset takes
    moved = found["y_train"] != clean
    assert moved[taken].sum() == 2 * (points * percent // 100 // 2) == moved.sum()
    assert sorted(found["y_train"][taken]) == sorted(taken), "labels of the subset are kept, as a whole"
    assert np.array_equal(found["y_test"], clean[:7])
    assert metadata["classes"] == 1000


def test_noise_in_all_points_would_hit_a_small_subset_whole():
    moved = inject(np.arange(1000), 30, kind="pair_swap", classes=1000) != np.arange(1000)
    assert moved[subset(1000, 100)].all(), "the reason why noise is put among the points of a subset"
