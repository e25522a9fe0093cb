"""Data made from formulas: on scikit-learn's curves and with its law, each part drawn afresh, by a seed of its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import cKDTree

from dlrun.datasets import sequences, synthetic, toys
from dlrun.datasets.data import Samples
from dlrun.datasets.prepare import prepare

OPTIONS = {"scale": "none", "scale_target": False, "val_fraction": 0.2, "test_fraction": 0.2, "split_seed": 0}
PLANE = [toys.moons, toys.circles, toys.spirals, toys.blobs, toys.gaussian_quantiles]
MADE = [*PLANE, synthetic.linear, synthetic.sine, synthetic.sawtooth, sequences.sequences]


@pytest.mark.parametrize("source", MADE, ids=lambda source: source.__name__)
def test_parts_are_fresh_draws_by_the_datas_own_seed(source: Callable[..., Samples]):
    made = source(samples=21, seed=5)
    parts = [made.inputs[made.parts[name]] for name in ("train", "val", "test")]
    assert [len(part) for part in parts] == [21, 21, 21]
    assert len(np.unique(made.inputs.reshape(63, -1), axis=0)) == 63
    assert np.array_equal(made.inputs, source(samples=21, seed=5).inputs)
    assert not np.array_equal(made.inputs, source(samples=21, seed=6).inputs)
    assert prepare(made, **OPTIONS).sizes == {"train": 21, "val": 21, "test": 21}


@pytest.mark.parametrize("source", PLANE, ids=lambda source: source.__name__)
def test_toys_have_noise_of_their_standard_deviation(source):
    clean, noisy = source(samples=3000, noise=0, seed=1), source(samples=3000, noise=0.2, seed=1)
    assert np.array_equal(clean.targets, noisy.targets) and clean.inputs.shape == (9000, 2)
    moved = noisy.inputs - clean.inputs
    assert stats.kstest(moved.ravel() / 0.2, "norm").pvalue > 0.001
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.05


@pytest.mark.parametrize("source", [s for s in PLANE if "classes" in inspect.signature(s).parameters])
@pytest.mark.parametrize("classes", [2, 5])
def test_every_part_holds_the_classes_asked_for(source, classes):
    made = source(samples=500, classes=classes)
    for rows in made.parts.values():
        counts = np.bincount(made.targets[rows], minlength=classes)
        assert len(counts) == classes and np.abs(counts - 500 / classes).max() < 5 * np.sqrt(500 / classes)
    assert made.task == ("binary" if classes == 2 else "multiclass") and len(made.class_names) == classes


@pytest.mark.parametrize(("name", "options"), [("moons", {}), ("circles", {"factor": 0.5})])
def test_curves_are_scikit_learns(name, options):
    import sklearn.datasets

    made = getattr(toys, name)(samples=1000, noise=0)
    points, classes = getattr(sklearn.datasets, f"make_{name}")(4000, shuffle=False, **options)
    for c in (0, 1):
        ours, theirs = made.inputs[made.targets == c], points[classes == c]
        # 2000 points of theirs on a curve no longer than 2 pi; each point of ours is next to one of them
        assert cKDTree(theirs).query(ours)[0].max() < 2 * np.pi / 2000
        assert cKDTree(ours).query(theirs)[0].max() < 0.05  # and no stretch of theirs is left out
        np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=0.07)
        np.testing.assert_allclose(np.cov(ours.T), np.cov(theirs.T), atol=0.05)


def test_blobs_are_normal_clouds_as_scikit_learns():
    import sklearn.datasets

    made = toys.blobs(samples=2000, classes=3, noise=1.5, seed=4)
    centres = toys.blobs(samples=1, classes=3, noise=0, seed=4).inputs
    theirs, classes = sklearn.datasets.make_blobs(6000, centers=centres, cluster_std=1.5, shuffle=False, random_state=0)
    for c in range(3):
        for axis in (0, 1):
            ours = made.inputs[made.targets == c, axis]
            assert stats.ks_2samp(ours, theirs[classes == c, axis]).pvalue > 0.001
    drawn = np.concatenate([toys.blobs(samples=1, classes=3, noise=0, seed=s).inputs for s in range(200)])
    assert stats.kstest(drawn.ravel(), "uniform", (-10, 20)).pvalue > 0.001


def test_rings_are_cut_where_scikit_learn_cuts_them():
    import sklearn.datasets

    made = toys.gaussian_quantiles(samples=2000, classes=4)
    radius = np.linalg.norm(made.inputs, axis=1)
    cuts = [radius[made.targets == c].max() for c in range(3)]
    assert all(radius[made.targets == c + 1].min() >= cuts[c] for c in range(3))
    np.testing.assert_allclose(cuts, stats.chi(2).ppf([0.25, 0.5, 0.75]), atol=0.005)
    theirs, classes = sklearn.datasets.make_gaussian_quantiles(n_samples=40000, n_classes=4, random_state=0)
    their_cuts = [np.linalg.norm(theirs[classes == c], axis=1).max() for c in range(3)]
    np.testing.assert_allclose(cuts, their_cuts, atol=0.02)


@pytest.mark.parametrize("classes", [2, 3])
def test_spirals_turn_one_and_a_half_times_and_are_turned_copies(classes):
    made = toys.spirals(samples=600, classes=classes, noise=0)
    radius = np.linalg.norm(made.inputs, axis=1)
    angle = np.arctan2(made.inputs[:, 1], made.inputs[:, 0])
    # undone: the angle that the radius does not explain is the class's own
    own = (angle - 2 * np.pi * 1.5 * radius) / (2 * np.pi) * classes % classes
    off = np.abs(own - made.targets)
    assert np.minimum(off, classes - off).max() < 1e-9
    assert stats.kstest(radius**2, "uniform").pvalue > 0.001


def test_sine_is_a_period_with_normal_noise():
    made = synthetic.sine(samples=2000, noise=0.3, seed=2)
    residual = (made.targets - np.sin(2 * np.pi * made.inputs))[:, 0] / 0.3
    assert stats.kstest(residual, "norm").pvalue > 0.001
    assert stats.kstest(made.inputs[:, 0], "uniform").pvalue > 0.001
    assert synthetic.sine().inputs.shape == (90, 1)


@pytest.mark.parametrize("k", [0, 1, 4])
def test_sawtooth_is_telgarskys_mirror_map_composed(k):
    made = synthetic.sawtooth(samples=300, k=k)
    y = made.inputs
    for _ in range(k + 1):
        y = np.where(y < 0.5, 2 * y, 2 - 2 * y)
    np.testing.assert_allclose(made.targets, y, atol=1e-12)
    order = np.argsort(made.inputs[:, 0])
    slopes = np.sign(np.diff(made.targets[order, 0]) / np.diff(made.inputs[order, 0]))
    assert np.count_nonzero(np.diff(slopes) < 0) == 2**k  # as many peaks as teeth


def test_sawtooth_noise():
    clean, noisy = synthetic.sawtooth(samples=1000), synthetic.sawtooth(samples=1000, noise=0.5)
    assert (noisy.targets - clean.targets).std() == pytest.approx(0.5, rel=0.05)


# Sequences


def test_adding_problem_marks_two_values_and_asks_for_their_sum():
    made = sequences.sequences(samples=700, length=9, seed=3)
    values, markers = made.inputs[..., 0], made.inputs[..., 1]
    assert made.inputs.shape == (2100, 9, 2) and made.targets.shape == (2100, 1) and made.task == "regression"
    assert set(np.unique(markers)) == {0.0, 1.0}
    first, second = np.nonzero(markers)[1].reshape(2100, 2).T  # two a row, or this could not be reshaped
    assert set(first) == set(range(4)) and set(second) == set(range(4, 9))
    plain = [sum(v for v, m in zip(row, marks, strict=True) if m) for row, marks in zip(values, markers, strict=True)]
    np.testing.assert_allclose(made.targets[:, 0], plain)
    assert stats.kstest(values.ravel(), "uniform").pvalue > 0.001
    assert np.mean((made.targets - 1) ** 2) == pytest.approx(1 / 6, rel=0.1)  # what answering 1 always costs


def test_digits_are_read_row_by_row():
    import sklearn.datasets

    made = sequences.sequences(rows_of_digits=True)
    digits = sklearn.datasets.load_digits()
    assert made.inputs.shape == (1797, 8, 8) and made.task == "multiclass" and not made.parts
    assert np.array_equal(made.inputs[5, 2], digits.data[5, 16:24]) and np.array_equal(made.targets, digits.target)
