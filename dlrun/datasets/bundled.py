"""The small tables that scikit-learn ships, read from its folder without importing it (that would take a second)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dlrun.datasets.data import Samples
from dlrun.errors import ConfigError

IRIS = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
NUCLEUS = ["radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity"]
NUCLEUS += ["concave points", "symmetry", "fractal dimension"]
WINE = ["alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols", "flavanoids"]
WINE += ["nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue", "od280/od315_of_diluted_wines", "proline"]
DIABETES = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]


def digits() -> Samples:
    """1,797 handwritten digits as images of 8 x 8 counts from 0 to 16: inputs (1797, 1, 8, 8), 10 classes.

    Reference: Alpaydin & Kaynak 1998, UCI repository, doi:10.24432/C50P49.
    """
    table = np.loadtxt(_shipped("digits.csv.gz"), delimiter=",")
    images, classes = table[:, :-1].reshape(-1, 1, 8, 8), table[:, -1].astype(np.int64)
    encoding = {"image": {"channels": "gray", "range": [0, 16]}}
    return Samples(images, classes, "multiclass", class_names=[str(digit) for digit in range(10)], encoding=encoding)


def iris() -> Samples:
    """150 flowers of 3 species by 4 lengths in cm. Reference: Fisher 1936, doi:10.1111/j.1469-1809.1936.tb02137.x."""
    inputs, classes, names = _classified("iris.csv")
    return Samples(inputs, classes, "multiclass", IRIS, names)


def wine() -> Samples:
    """178 Italian wines of 3 cultivars by 13 measures. Reference: Aeberhard & Forina 1992, doi:10.24432/C5PC7J."""
    inputs, classes, names = _classified("wine_data.csv")
    return Samples(inputs, classes, "multiclass", WINE, names)


def breast_cancer() -> Samples:
    """569 tumours, malignant (0) or benign (1), by 30 measures of their cells' nuclei.

    Reference: Street, Wolberg & Mangasarian 1993, doi:10.1117/12.148698.
    """
    inputs, classes, names = _classified("breast_cancer.csv")
    features = [f"mean {q}" for q in NUCLEUS] + [f"{q} error" for q in NUCLEUS] + [f"worst {q}" for q in NUCLEUS]
    return Samples(inputs, classes, "binary", features, names)


def diabetes() -> Samples:
    """A disease's progress after a year (25 to 346) in 442 patients, by 10 measures in their own units.

    scikit-learn's loader scales these measures by all 442 rows unless told otherwise; here they come raw, so that
    no scaling has seen the validation and test rows.

    Reference: Efron, Hastie, Johnstone & Tibshirani 2004, doi:10.1214/009053604000000067.
    """
    inputs = np.loadtxt(_shipped("diabetes_data_raw.csv.gz"))
    return Samples(inputs, np.loadtxt(_shipped("diabetes_target.csv.gz")), "regression", DIABETES)


def _classified(name: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Inputs, classes and class names of a file whose first line reads rows,columns,class,class..."""
    file = _shipped(name)
    table = np.loadtxt(file, delimiter=",", skiprows=1)
    with file.open(encoding="utf-8") as lines:
        class_names = lines.readline().strip().split(",")[2:]
    return table[:, :-1], table[:, -1].astype(np.int64), class_names


def _shipped(name: str) -> Path:
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise ConfigError(f"dataset: {name} comes with scikit-learn, which is missing here: pip install scikit-learn")
    file = Path(package.submodule_search_locations[0], "datasets", "data", name)
    if not file.is_file():
        raise ConfigError(f"dataset: scikit-learn here does not hold {file}: reinstall it (pip install scikit-learn)")
    return file
