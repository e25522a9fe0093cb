"""Sources against scikit-learn and known numbers; splits and scaling against their definitions."""

from __future__ import annotations

import hashlib
import inspect
import io
import os
import re
import subprocess
import sys
import tarfile
import tracemalloc
import urllib.error
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from omegaconf import OmegaConf

from dlrun.datasets import bundled, california, synthetic
from dlrun.datasets.data import Samples
from dlrun.datasets.given import given as given_samples
from dlrun.datasets.prepare import prepare, replace_labels
from dlrun.datasets.related import permuted, with_classes
from dlrun.datasets.scale import CHUNK
from dlrun.datasets.split import split, subset
from dlrun.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("DLRUN_TEST_DATA", ROOT.parent / "shared" / "data"))
OPTIONS = {"scale": "none", "scale_target": False, "val_fraction": 0.2, "test_fraction": 0.2, "split_seed": 0}


def need(name: str) -> Path:
    if not (DATA / name).is_dir():
        pytest.skip(f"no {DATA / name}: set DLRUN_TEST_DATA to the folder that holds {name}/")
    return DATA / name


def table(inputs: np.ndarray, targets: np.ndarray | None = None, task: str = "regression", **kwargs) -> Samples:
    return Samples(inputs, np.zeros(len(inputs)) if targets is None else targets, task, **kwargs)


# Bundled tables


@pytest.mark.parametrize("name", ["digits", "iris", "wine", "breast_cancer", "diabetes"])
def test_bundled_tables_are_scikit_learns(name):
    import sklearn.datasets

    bunch = getattr(sklearn.datasets, f"load_{name}")(**({"scaled": False} if name == "diabetes" else {}))
    samples = getattr(bundled, name)()
    assert np.array_equal(samples.inputs.reshape(bunch.data.shape), bunch.data)
    assert np.array_equal(samples.targets, bunch.target) and samples.targets.dtype == bunch.target.dtype
    assert samples.task == {"breast_cancer": "binary", "diabetes": "regression"}.get(name, "multiclass")
    assert samples.class_names == [str(n) for n in getattr(bunch, "target_names", [])]
    if samples.inputs.ndim == 2:
        assert samples.feature_names == [str(n) for n in bunch.feature_names]
    else:
        assert samples.inputs.shape == (1797, 1, 8, 8)


def test_sources_import_nothing_heavy():
    code = (
        "import sys; from dlrun.datasets import bundled, california, cifar, download, idx, image_folder, prepare, "
        "sequences, synthetic, table, toys; bundled.iris(); heavy = 'sklearn pandas pooch requests rich PIL'.split();"
        "print([m for m in heavy if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_scikit_learn_missing_is_told(monkeypatch):
    monkeypatch.setattr(bundled, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"iris\.csv comes with scikit-learn"):
        bundled.iris()


# California housing


def test_california_is_scikit_learns(monkeypatch):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(need("scikit_learn_data")))
    from sklearn.datasets import fetch_california_housing

    samples, bunch = california.california_housing(), fetch_california_housing()
    assert np.array_equal(samples.inputs, bunch.data) and np.array_equal(samples.targets, bunch.target)
    assert samples.inputs.shape == (20640, 8) and samples.feature_names == bunch.feature_names


def test_california_offline_says_where_it_looked(monkeypatch, tmp_path):
    from sklearn.datasets import _base, _california_housing

    def offline(*args, **kwargs):
        raise urllib.error.URLError("no network")

    archive = tmp_path / "cal_housing.tgz"
    monkeypatch.setattr(_base, "urlretrieve", offline)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    with pytest.warns(UserWarning, match="Retry"), pytest.raises(ConfigError) as refused:
        california.california_housing()
    for told in (f"save it as {archive},", _california_housing.ARCHIVE.url, "no network"):
        assert told in str(refused.value)

    # The archive in that place serves, without any network.
    rows = b"-122,37,41,880,129,322,126,8.3,452600\n-121,38,21,7099,1106,2401,1138,8.3,358500\n"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("CaliforniaHousing/cal_housing.data")
        member.size = len(rows)
        tar.addfile(member, io.BytesIO(rows))
    checksum = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(_california_housing, "ARCHIVE", _california_housing.ARCHIVE._replace(checksum=checksum))
    assert california.california_housing().targets.tolist() == [4.526, 3.585]


def test_california_damaged_cache_is_named(monkeypatch, tmp_path):
    (tmp_path / "cal_housing_py3.pkz").write_bytes(b"not a pickle")
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match=r"cal_housing_py3\.pkz cannot be read"):
        california.california_housing()


# Formulas


def test_linear_is_the_line_within_its_noise():
    samples = synthetic.linear(samples=1000, noise=0.1, seed=3)
    residual = samples.targets - (3 * samples.inputs + 2)
    assert np.abs(residual).max() <= 0.1
    assert residual.std() == pytest.approx(0.1 / np.sqrt(3), rel=0.05)
    assert samples.inputs.min() >= 0 and samples.inputs.max() <= 1
    assert samples.inputs.std() == pytest.approx(1 / np.sqrt(12), rel=0.05)
    x, y = samples.inputs[samples.parts["train"]], samples.targets[samples.parts["train"]]
    assert np.polyfit(x[:, 0], y[:, 0], 1) == pytest.approx([3, 2], abs=0.03)


def test_linear_draws_val_and_test_afresh_by_its_own_seed():
    dataset = prepare(synthetic.linear(), **OPTIONS)
    assert dataset.sizes == {"train": 30, "val": 30, "test": 30} and dataset.targets.shape == (90, 1)
    assert len(torch.unique(dataset.inputs)) == 90
    assert np.array_equal(synthetic.linear(seed=1).inputs, synthetic.linear(seed=1).inputs)
    assert not np.array_equal(synthetic.linear(seed=1).inputs, synthetic.linear(seed=2).inputs)


def test_xor_is_the_same_four_points_thrice():
    dataset = prepare(synthetic.xor(), **OPTIONS)
    for part in ("train", "val", "test"):
        x, y = dataset.part(part)
        assert x.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]] and y.tolist() == [0, 1, 1, 0]
    assert (dataset.task, dataset.outputs, y.dtype) == ("binary", 1, torch.float32)


def test_given_samples_are_those_typed_in_every_part():
    dataset = prepare(given_samples([[1, 2], [3, 4]], [5, -6.5]), **OPTIONS)
    for part in ("train", "val", "test"):
        x, y = dataset.part(part)
        assert x.tolist() == [[1, 2], [3, 4]] and y.tolist() == [[5], [-6.5]]
    assert prepare(given_samples([[1]], [[2, 3]]), **OPTIONS).part("val")[1].tolist() == [[2, 3]]


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        ([[1, 2], [3]], [1, 2], r"dataset.inputs=\[\[1, 2\], \[3\]\]: give numbers, as many for each sample"),
        ([], [], r"dataset.inputs=\[\]: give numbers"),
        ([1, 2], [1, 2], r"dataset.inputs=\[1, 2\]: give a list of numbers per sample"),
        ([[1, 2]], [1, 2], r"dataset.targets=\[1, 2\]: give a number, or a list of numbers, for each of the 1 samples"),
        ([["a", 2]], [1], r"dataset.inputs=\[\['a', 2\]\]: give numbers"),
    ],
)
def test_what_is_given_must_be_samples(inputs, targets, message):
    with pytest.raises(ConfigError, match=message):
        given_samples(inputs, targets)


# Splits


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    fractions=st.tuples(st.floats(0.05, 0.45), st.floats(0.05, 0.45)),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None)
def test_split_covers_the_rows_once_and_keeps_the_classes_shares(counts, fractions, seed):
    classes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    samples = table(np.zeros((len(classes), 1)), classes, "multiclass")
    n, (test, val) = len(classes), fractions
    try:
        parts = split(samples, {"test": test, "val": val}, seed)
    except ConfigError:
        assert min(round(test * n), round(val * n), n - round(test * n) - round(val * n)) <= 0
        return
    assert sorted(np.concatenate(list(parts.values()))) == list(range(n))
    assert (len(parts["test"]), len(parts["val"])) == (round(test * n), round(val * n))
    for c, count in enumerate(counts):
        quota = count * round(test * n) / n
        assert abs(np.sum(classes[parts["test"]] == c) - quota) < 1
        left = count - np.sum(classes[parts["test"]] == c)
        assert abs(np.sum(classes[parts["val"]] == c) - left * round(val * n) / (n - round(test * n))) < 1


def test_split_depends_on_its_seed_alone_and_test_not_on_the_val_fraction():
    iris = bundled.iris()
    parts = split(iris, {"test": 0.2, "val": 0.2}, 7)
    again, other = split(iris, {"test": 0.2, "val": 0.2}, 7), split(iris, {"test": 0.2, "val": 0.2}, 8)
    assert all(np.array_equal(parts[name], again[name]) for name in parts)
    assert not np.array_equal(parts["test"], other["test"])
    assert np.array_equal(parts["test"], split(iris, {"test": 0.2, "val": 0.4}, 7)["test"])


def test_rows_of_a_tie_are_drawn_by_lot():
    """Ten classes of one row: whichever goes to the test part must be the seed's choice, not the class number's."""
    samples = table(np.zeros((10, 1)), np.arange(10), "multiclass")
    drawn = [int(split(samples, {"test": 0.1, "val": 0.1}, seed)["test"][0]) for seed in range(60)]
    assert len(set(drawn)) == 10


def test_regression_rows_are_drawn_evenly():
    samples = table(np.zeros((10, 1)))
    drawn = np.bincount([r for s in range(500) for r in split(samples, {"test": 0.2, "val": 0.2}, s)["test"]])
    assert np.abs(drawn - 100).max() < 4 * np.sqrt(500 * 0.2 * 0.8)


def test_fixed_parts_stay_and_the_rest_is_drawn_around_them():
    fixed = np.array([3, 1, 4])
    parts = split(table(np.zeros((13, 1)), parts={"test": fixed}), {"test": 0.5, "val": 0.3}, 0)
    assert np.array_equal(parts["test"], fixed) and len(parts["val"]) == 3 and len(parts["train"]) == 7
    assert sorted([*parts["train"], *parts["val"]]) == [r for r in range(13) if r not in fixed]


@pytest.mark.parametrize(
    ("fractions", "part"),
    [((0.5, 0.5), "train"), ((0.01, 0.2), "val"), ((0.2, 0.0), "test"), ((0.9, 0.9), "train")],
)
def test_an_empty_part_is_refused_by_name(fractions, part):
    val, test = fractions
    asked = OPTIONS | {"val_fraction": val, "test_fraction": test}
    with pytest.raises(ConfigError, match=rf"empty split: .*val_fraction={val}.* of 20 rows leave no row for {part}"):
        prepare(table(np.zeros((20, 1))), **asked)


# Scaling

NUMBERS = arrays(np.float64, (30, 2), elements=st.floats(-1e3, 1e3).map(lambda x: round(x, 3)))


def by_hand(scale: str, x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The lectures' formulas on (rows, columns)."""
    low, high, mean, std = train.min(0), train.max(0), train.mean(0), train.std(0)
    return {
        "none": x,
        "minmax": (x - low) / (high - low + 1e-8),
        "symmetric": 2 * (x - low) / (high - low + 1e-8) - 1,
        "standard": (x - mean) / (std + 1e-8),
    }[scale]


@pytest.mark.parametrize("scale", ["none", "minmax", "symmetric", "standard"])
@given(inputs=NUMBERS, seed=st.integers(0, 100), other=NUMBERS)
@settings(max_examples=40, deadline=None)
def test_scaling_is_the_lectures_by_the_training_part_alone(scale, inputs, seed, other):
    inputs = inputs + np.arange(30)[:, None] / 7  # no constant column: see the next test
    samples = table(inputs)
    parts = split(samples, {"test": 0.2, "val": 0.2}, seed)
    options = OPTIONS | {"scale": scale, "split_seed": seed}
    dataset = prepare(samples, **options, dtype=torch.float64)
    for name, rows in parts.items():
        expected = by_hand(scale, inputs[rows], inputs[parts["train"]])
        np.testing.assert_allclose(dataset.part(name)[0], expected, rtol=1e-9, atol=1e-9)
    # Whatever val and test hold, the training part comes out the same.
    changed = inputs.copy()
    rest = np.concatenate([parts["val"], parts["test"]])
    changed[rest] = 1e6 * other[rest]
    after = prepare(table(changed), **options, dtype=torch.float64)
    assert torch.equal(after.part("train")[0], dataset.part("train")[0])


@pytest.mark.parametrize("scaler", ["MinMaxScaler", "StandardScaler"])
def test_scaling_agrees_with_scikit_learn(scaler):
    import sklearn.preprocessing

    cancer = bundled.breast_cancer()
    train = split(cancer, {"test": 0.2, "val": 0.2}, 0)["train"]
    expected = getattr(sklearn.preprocessing, scaler)().fit(cancer.inputs[train]).transform(cancer.inputs[train])
    scale = {"MinMaxScaler": "minmax", "StandardScaler": "standard"}[scaler]
    dataset = prepare(cancer, **OPTIONS | {"scale": scale})
    np.testing.assert_allclose(dataset.part("train")[0], expected, rtol=2e-5, atol=1e-6)


def test_images_are_scaled_by_channel_across_chunks():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5000, 3, 2, 2)).astype(np.uint8)
    images[:, 1] //= 4
    samples = table(images)
    train = split(samples, {"test": 0.2, "val": 0.2}, 0)["train"]
    columns = images.astype(np.float64).transpose(0, 2, 3, 1)
    for scale in ("minmax", "symmetric", "standard"):
        expected = by_hand(scale, columns[train].reshape(-1, 3), columns[train].reshape(-1, 3))
        x = prepare(samples, **OPTIONS | {"scale": scale}).part("train")[0].permute(0, 2, 3, 1).reshape(-1, 3)
        np.testing.assert_allclose(x, expected, atol=1e-6)


@pytest.mark.parametrize(("scale", "value"), [("minmax", 0.0), ("symmetric", -1.0), ("standard", 0.0)])
def test_a_constant_column_stays_harmless_where_val_differs(scale, value):
    inputs = np.full((20, 1), 0.1)
    parts = split(table(inputs), {"test": 0.2, "val": 0.2}, 0)
    inputs[parts["val"]] = 1.1
    dataset = prepare(table(inputs), **OPTIONS | {"scale": scale}, dtype=torch.float64)
    assert (dataset.part("train")[0] == value).all()
    assert (dataset.part("val")[0].abs() <= 1).all()


def test_large_numbers_keep_their_digits():
    """Seconds since 1970 differ by less than float32 can tell, until they are scaled."""
    inputs = 1.7e9 + np.arange(20.0)[:, None]
    dataset = prepare(table(inputs), **OPTIONS | {"scale": "minmax"})
    assert len(torch.unique(dataset.inputs)) == 20


def test_missing_numbers_become_the_training_medians():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(40, 2))
    inputs[rng.random((40, 2)) < 0.3] = np.nan
    samples = table(inputs, feature_names=["a", "b"])
    train = split(samples, {"test": 0.2, "val": 0.2}, 0)["train"]
    medians = [np.median([x for x in inputs[train, j] if not np.isnan(x)]) for j in (0, 1)]
    dataset = prepare(samples, **OPTIONS, dtype=torch.float64)
    rows = np.concatenate([split(samples, {"test": 0.2, "val": 0.2}, 0)[p] for p in ("train", "val", "test")])
    expected = [[medians[j] if np.isnan(inputs[r, j]) else inputs[r, j] for j in (0, 1)] for r in rows]
    assert dataset.inputs.tolist() == expected
    inputs[train, 1] = np.nan
    with pytest.raises(ConfigError, match="no number in the training part to fill with: b"):
        prepare(samples, **OPTIONS)


@pytest.mark.filterwarnings("error")
def test_numbers_beyond_float32_are_refused_by_column():
    inputs = np.column_stack([np.arange(20.0), np.tile([-1.7e308, 1.7e308], 10)])
    for scale in ("none", "minmax", "standard"):
        with pytest.raises(ConfigError, match=r"too large for torch\.float32: big;"):
            prepare(table(inputs, feature_names=["small", "big"]), **OPTIONS | {"scale": scale})


def test_images_are_never_copied_as_float64():
    samples = table(np.zeros((20000, 1, 28, 28), np.uint8))
    tracemalloc.start()  # sees NumPy's memory; torch holds the result
    prepare(samples, **OPTIONS | {"scale": "standard"})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20000 * 28 * 28 * 4


# Whitening


def test_zca_is_the_inverse_root_of_the_covariance():
    from scipy.linalg import fractional_matrix_power

    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(3000, 4)) @ rng.normal(size=(4, 4)) + [0, 5, -3, 100]  # more rows than are read at a time
    train = split(table(inputs), {"test": 0.2, "val": 0.1}, 0)["train"]
    assert len(train) > CHUNK
    root = fractional_matrix_power(np.cov(inputs[train].T), -0.5)
    dataset = prepare(table(inputs), **OPTIONS | {"scale": "zca", "val_fraction": 0.1}, dtype=torch.float64)
    parts = split(table(inputs), {"test": 0.2, "val": 0.1}, 0)
    for name, rows in parts.items():
        expected = (inputs[rows] - inputs[train].mean(0)) @ root
        np.testing.assert_allclose(dataset.part(name)[0], expected, atol=1e-12)
    x = dataset.part("train")[0].numpy()
    np.testing.assert_allclose(x.T @ x / (len(x) - 1), np.eye(4), atol=1e-12)


@pytest.mark.parametrize(("name", "size"), [("breast_cancer", None), ("wine", None), ("digits", 900)])
def test_zca_whitens_every_direction_that_varies_and_drops_the_others(name, size):
    """scikit-learn's PCA whitens the same rows; turned back into the features' own directions, they are ZCA's."""
    from sklearn.decomposition import PCA

    samples = getattr(bundled, name)()
    options = OPTIONS | {"scale": "zca", "train_size": size}
    given = prepare(samples, **options | {"scale": "none"}, dtype=torch.float64)
    dataset = prepare(samples, **options, dtype=torch.float64)
    assert dataset.inputs.shape == given.inputs.shape  # images stay images

    train = given.part("train")[0].flatten(1).numpy()
    rank = np.linalg.matrix_rank(train - train.mean(0))
    assert rank == {"breast_cancer": 30, "wine": 13}.get(name, rank) and (name != "digits" or rank < 64)
    pca = PCA(rank, whiten=True, svd_solver="full").fit(train)
    for part in ("train", "val", "test"):
        expected = pca.transform(given.part(part)[0].flatten(1)) @ pca.components_
        np.testing.assert_allclose(dataset.part(part)[0].flatten(1), expected, rtol=1e-6, atol=1e-6)
    components = dataset.part("train")[0].flatten(1).numpy() @ pca.components_.T
    assert np.abs(np.cov(components.T) - np.eye(rank)).max() < 1e-9
    total = np.linalg.eigvalsh(np.cov(dataset.part("train")[0].flatten(1).T))
    assert np.abs(total[:-rank]).max(initial=0) < 1e-12  # what does not vary is 0, and val no larger than it was


def test_zca_of_fewer_rows_than_features_spans_what_they_span():
    dataset = prepare(bundled.digits(), **OPTIONS | {"scale": "zca", "train_size": 40}, dtype=torch.float64)
    train, val = (dataset.part(part)[0].flatten(1).numpy() for part in ("train", "val"))
    eigenvalues = np.linalg.eigvalsh(np.cov(train.T))
    np.testing.assert_allclose(eigenvalues[-39:], 1, rtol=1e-9)  # 40 points span 39 directions
    assert np.abs(eigenvalues[:-39]).max() < 1e-12
    assert np.linalg.matrix_rank(np.vstack([train, val]), tol=1e-9) == 39


@pytest.mark.parametrize("ratio", [1e3, 1e6, 1e9])
def test_zca_keeps_directions_however_narrow_and_columns_that_do_not_vary_harmless(ratio):
    rng = np.random.default_rng(0)
    inputs = np.column_stack([rng.normal(size=(200, 2)) * [ratio, 1], np.full(200, 0.1)])
    inputs[split(table(inputs), {"test": 0.2, "val": 0.2}, 0)["val"], 2] = 5
    dataset = prepare(table(inputs), **OPTIONS | {"scale": "zca"}, dtype=torch.float64)
    train = dataset.part("train")[0]
    np.testing.assert_allclose(np.cov(train[:, :2].T), np.eye(2), atol=1e-9)
    assert (dataset.inputs[:, 2] == 0).all()


def test_zca_refuses_what_would_not_fit():
    with pytest.raises(ConfigError, match=r"scale=zca: 4800 features need matrices of 4800 x 4800 .* 0\.9 GB"):
        prepare(table(np.zeros((9, 3, 40, 40), np.uint8)), **OPTIONS | {"scale": "zca"})
    with pytest.raises(ConfigError, match="too large to be added up"), np.errstate(all="ignore"):
        prepare(table(np.tile([-1e308, 1e308], 10)[:, None]), **OPTIONS | {"scale": "zca"})


def test_sequences_are_scaled_by_feature_over_all_steps():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(50, 7, 2)) * [1, 10] + [0, 5]
    rows = split(table(inputs), {"test": 0.2, "val": 0.2}, 0)["train"]
    for scale in ("minmax", "symmetric", "standard"):
        steps = inputs[rows].reshape(-1, 2)
        x = prepare(table(inputs), **OPTIONS | {"scale": scale}, dtype=torch.float64).part("train")[0]
        np.testing.assert_allclose(x.reshape(-1, 2), by_hand(scale, steps, steps), atol=1e-12)
    inputs[0, 3, 1] = 1e300
    with pytest.raises(ConfigError, match=r"too large for torch\.float32: marker;"):
        prepare(table(inputs, feature_names=["value", "marker"]), **OPTIONS)


# Targets


def test_targets_have_the_form_of_their_task():
    iris = prepare(bundled.iris(), **OPTIONS)
    assert (iris.outputs, iris.targets.dtype, iris.targets.shape) == (3, torch.int64, (150,))
    cancer = prepare(bundled.breast_cancer(), **OPTIONS)
    assert (cancer.outputs, cancer.targets.dtype, cancer.targets.shape) == (1, torch.float32, (569,))
    assert set(cancer.targets.tolist()) == {0.0, 1.0}
    assert iris.class_names == ["setosa", "versicolor", "virginica"] and len(cancer.feature_names) == 30
    two = prepare(table(np.zeros((20, 1)), np.arange(40.0).reshape(20, 2)), **OPTIONS)
    assert (two.outputs, two.targets.dtype, two.targets.shape) == (2, torch.float32, (20, 2))


def test_inputs_and_targets_of_a_row_stay_together():
    x = np.arange(30.0)
    dataset = prepare(table(x[:, None], 2 * x), **OPTIONS)
    assert torch.equal(dataset.targets, 2 * dataset.inputs)


def test_scaled_targets_are_standard_in_the_training_part():
    diabetes = bundled.diabetes()
    train = split(diabetes, {"test": 0.2, "val": 0.2}, 0)["train"]
    y = diabetes.targets[train]
    dataset = prepare(diabetes, **OPTIONS | {"scale_target": True})
    np.testing.assert_allclose(dataset.part("train")[1][:, 0], (y - y.mean()) / y.std(), atol=1e-6)
    with pytest.raises(ConfigError, match=r"scale_target=true: .* not multiclass"):
        prepare(bundled.iris(), **OPTIONS | {"scale_target": True})


# Label noise


def test_label_noise_replaces_exactly_that_share_of_the_training_labels_by_other_classes():
    truth = np.repeat(np.arange(5), 2000)
    samples = table(np.arange(10000.0)[:, None], truth, "multiclass")
    dataset = prepare(samples, **OPTIONS | {"label_noise": 0.15})
    clean = prepare(samples, **OPTIONS)
    assert torch.equal(dataset.inputs, clean.inputs)
    for part, wrong in (("train", 900), ("val", 0), ("test", 0)):
        assert int((dataset.part(part)[1] != clean.part(part)[1]).sum()) == wrong
    # from any class to any other, each as likely
    before, after = clean.part("train")[1].numpy(), dataset.part("train")[1].numpy()
    moved = np.bincount(((after - before) % 5)[after != before], minlength=5)[1:]
    assert moved.sum() == 900 and np.abs(moved - 225).max() < 4 * np.sqrt(225)
    everything = prepare(samples, **OPTIONS | {"label_noise": 1.0}).part("train")[1]
    assert not (everything == clean.part("train")[1]).any()


def test_label_noise_grows_with_its_fraction_and_depends_on_the_split_seed():
    clean = prepare(bundled.digits(), **OPTIONS).part("train")[1]
    less, more = (prepare(bundled.digits(), **OPTIONS | {"label_noise": p}).part("train")[1] for p in (0.1, 0.3))
    assert torch.equal(more[less != clean], less[less != clean])
    again = prepare(bundled.digits(), **OPTIONS | {"label_noise": 0.1}).part("train")[1]
    assert torch.equal(again, less)
    labels = np.zeros(1000, np.int64)
    assert not np.array_equal(replace_labels(labels, 2, 0.5, 0), replace_labels(labels, 2, 0.5, 1))
    assert not labels.any()


def test_label_noise_on_shared_rows_leaves_val_and_test_clean():
    dataset = prepare(synthetic.xor(), **OPTIONS | {"label_noise": 0.5})
    assert int((dataset.part("train")[1] != torch.tensor([0.0, 1, 1, 0])).sum()) == 2
    assert dataset.part("val")[1].tolist() == dataset.part("test")[1].tolist() == [0, 1, 1, 0]
    with pytest.raises(ConfigError, match=r"label_noise=0\.1: .* not a regression's"):
        prepare(bundled.diabetes(), **OPTIONS | {"label_noise": 0.1})


# Training subsets and folds


@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    sizes=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    seed=st.integers(0, 1000),
)
@settings(deadline=None)
def test_a_larger_subset_contains_the_smaller_one(counts, sizes, seed):
    classes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    samples = table(np.zeros((len(classes), 1)), classes, "multiclass")
    rows = np.arange(len(classes))
    small, large = sorted(min(size, len(rows)) for size in sizes)
    few, many = subset(samples, rows, small, seed), subset(samples, rows, large, seed)
    assert len(set(few)) == small and len(set(many)) == large and set(few) <= set(many) <= set(rows)
    for c, count in enumerate(counts):
        assert abs(np.sum(classes[few] == c) - count * small / len(classes)) <= 1 + len(counts) / 2


def test_train_size_is_a_number_or_a_fraction_of_the_training_part_alone():
    whole = prepare(bundled.iris(), **OPTIONS)
    for size, kept in ((30, 30), (0.5, 45), (1, 1), (90, 90)):
        dataset = prepare(bundled.iris(), **OPTIONS | {"train_size": size})
        assert dataset.sizes == {"train": kept, "val": 30, "test": 30}
        for part in ("val", "test"):
            assert torch.equal(dataset.part(part)[0], whole.part(part)[0])
    balanced = prepare(bundled.iris(), **OPTIONS | {"train_size": 30}).part("train")[1]
    assert torch.bincount(balanced).tolist() == [10, 10, 10]
    scaled = prepare(bundled.iris(), **OPTIONS | {"train_size": 30, "scale": "standard"}).part("train")[0]
    assert scaled.mean(0).abs().max() < 1e-5  # by the statistics of what is kept
    for size in (91, 0.001):
        with pytest.raises(ConfigError, match=f"train_size={size}: there are 90 training rows"):
            prepare(bundled.iris(), **OPTIONS | {"train_size": size})


@given(counts=st.lists(st.integers(1, 30), min_size=1, max_size=5), folds=st.integers(2, 6), seed=st.integers(0, 1000))
@settings(deadline=None)
def test_folds_cover_every_row_that_is_not_for_testing_once(counts, folds, seed):
    classes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    samples = table(np.zeros((len(classes), 1)), classes, "multiclass")
    test = round(0.3 * len(classes))
    if test == 0 or len(classes) - test < folds:
        with pytest.raises(ConfigError, match=f"folds={folds}"):
            split(samples, {"test": 0.3, "val": 0.2}, seed, folds, 0)
        return
    parts = [split(samples, {"test": 0.3, "val": 0.2}, seed, folds, fold) for fold in range(folds)]
    pool = np.setdiff1d(np.arange(len(classes)), parts[0]["test"])
    assert sorted(np.concatenate([part["val"] for part in parts])) == list(pool)
    for part in parts:
        assert np.array_equal(part["test"], parts[0]["test"])
        assert sorted([*part["train"], *part["val"]]) == list(pool)
        assert abs(len(part["val"]) - len(pool) / folds) < 1
        for c in range(len(counts)):
            assert abs(np.sum(classes[part["val"]] == c) - np.sum(classes[pool] == c) / folds) < 1


def test_folds_keep_the_test_part_and_take_in_a_fixed_val_part():
    fractions = {"test": 0.2, "val": 0.2}
    folded = split(bundled.iris(), fractions, 3, 5, 1)
    assert np.array_equal(folded["test"], split(bundled.iris(), fractions, 3)["test"])
    assert not np.array_equal(folded["val"], split(bundled.iris(), fractions, 4, 5, 1)["val"])
    made = synthetic.linear(samples=10)
    val = [split(made, fractions, 0, 4, fold)["val"] for fold in range(4)]
    assert sorted(np.concatenate(val)) == list(range(20))
    assert np.array_equal(split(made, fractions, 0, 4, 0)["test"], made.parts["test"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": 1}, "fold=1 needs dataset.folds"),
        ({"folds": 3, "fold": 3}, "fold=3: the 3 folds are numbered from 0 to 2"),
        ({"folds": 40}, "folds=40: 4 rows are for testing and 16 are left"),
    ],
)
def test_folds_that_cannot_be_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        prepare(table(np.zeros((20, 1))), **OPTIONS | options)


def test_folds_of_shared_rows_are_refused():
    with pytest.raises(ConfigError, match="folds=2: this dataset's parts share rows"):
        prepare(synthetic.xor(), **OPTIONS | {"folds": 2})


# The registry

YAMLS = sorted((ROOT / "conf" / "dataset").glob("*.yaml"))
KIND = r"(?:(?:int|number|(?:list of )+(?:int|numbers|text|any))\b ?)?(?:(?:>=?|<=?) \S+|in [\[(].+, .+[\])])?"
CONSTRAINT = re.compile(rf"^(?:{KIND}|null|bool|text|path|any|[a-z]+)(?: or (?:{KIND}|[a-z]+))*; \S")


@pytest.mark.parametrize("yaml", YAMLS, ids=lambda file: file.stem)
def test_yaml_fits_its_source_and_states_its_constraints(yaml):
    lines = yaml.read_text(encoding="utf-8").splitlines()
    assert re.match(r"# \S", lines[0]) and lines[1].startswith("_target_: ")
    config = OmegaConf.to_container(OmegaConf.load(yaml))
    module, name = config.pop("_target_").rsplit(".", 1)
    parameters = inspect.signature(getattr(import_module(module), name)).parameters
    assert set(parameters) <= set(config) <= set(parameters) | set(inspect.signature(prepare).parameters)
    defaults = {key: p.default for key, p in parameters.items() if p.default is not p.empty}
    defaults = {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}
    assert {key: config[key] for key in defaults} == defaults
    for line in lines[2:]:
        assert CONSTRAINT.match(line.split(" # ", 1)[1]), line


# Related tasks


def test_classes_that_are_kept_are_numbered_anew_and_their_rows_stay_in_their_parts():
    digits = bundled.digits()
    parts = {"test": np.arange(1000, 1797), "val": np.arange(100), "train": np.arange(100, 1000)}
    given = Samples(digits.inputs, digits.targets, digits.task, class_names=digits.class_names, parts=parts)
    kept = with_classes(given, [7, 5, 9])
    assert kept.class_names == ["7", "5", "9"] and kept.task == "multiclass"
    for part, rows in parts.items():
        wanted = [row for row in rows if digits.targets[row] in (7, 5, 9)]
        np.testing.assert_array_equal(kept.inputs[kept.parts[part]], digits.inputs[wanted])
        assert [int(kept.class_names[c]) for c in kept.targets[kept.parts[part]]] == digits.targets[wanted].tolist()
    two = prepare(digits, **OPTIONS | {"keep_classes": [3, 8]})
    assert (two.task, two.outputs, two.classes) == ("binary", 1, ["3", "8"])
    assert sum(two.sizes.values()) == int(np.isin(digits.targets, (3, 8)).sum())


@pytest.mark.parametrize("classes", [[1], [1, 1], [0, 10], []])
def test_classes_that_cannot_be_kept_are_refused(classes: list[int]):
    with pytest.raises(ConfigError, match=r"dataset.keep_classes=\[.*from 0 to 9"):
        prepare(bundled.digits(), **OPTIONS | {"keep_classes": classes})
    with pytest.raises(ConfigError, match="no classes"):
        prepare(bundled.diabetes(), **OPTIONS | {"keep_classes": classes})


def test_pixels_in_another_order_are_the_same_pixels_in_all_samples_and_channels():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (20, 3, 4, 5)).astype(np.uint8)
    samples = table(images, np.arange(20) % 2, "binary", encoding={"image": {"channels": "red, green, blue"}})
    other = permuted(samples, 1)
    pixels = other.encoding["image"]["pixels"]
    assert sorted(pixels) == list(range(20)) != pixels
    for old, new in zip(images, other.inputs, strict=True):
        for channel in range(3):
            assert new[channel].flatten().tolist() == [old[channel].flatten()[pixel] for pixel in pixels]
    assert permuted(samples, 2).encoding["image"]["pixels"] != pixels
    assert prepare(samples, **OPTIONS | {"permute": 1}).digest != prepare(samples, **OPTIONS).digest
    with pytest.raises(ConfigError, match=r"dataset\.permute=1: only images"):
        prepare(bundled.iris(), **OPTIONS | {"permute": 1})


@pytest.mark.filterwarnings("error")
def test_targets_whose_spread_is_no_number_are_refused() -> None:
    targets = np.where(np.arange(40) % 4, np.arange(40), 1e306)  # of which the mean is a number
    samples = Samples(np.arange(40.0)[:, None], targets, "regression")
    for scaled, way in (("auto", "give them in a larger unit"), (False, "dataset.scale_target=true may help")):
        with pytest.raises(ConfigError, match=f"the targets hold values too large for .*: {way}"):
            prepare(samples, **OPTIONS | {"scale_target": scaled})
