"""California housing through scikit-learn's fetcher and its cache."""

from __future__ import annotations

import os
import zlib
from io import BytesIO
from math import prod
from pathlib import Path
from pickle import UnpicklingError, _Unpickler
from typing import Any

import numpy as np

from dlrun.datasets.data import Samples
from dlrun.errors import ConfigError

URL = "https://ndownloader.figshare.com/files/5976036"  #: what scikit-learn's fetcher downloads
LARGEST = 2**24  #: bytes that are unpacked; the table has a million and a half
FEATURES = ["MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude"]


def california_housing() -> Samples:
    """Median house value (in 100,000 dollars) of 20,640 Californian districts in 1990, by 8 features of the census.

    Kept in scikit-learn's data folder: `$SCIKIT_LEARN_DATA`, else `~/scikit_learn_data`. Raises ConfigError where
    the data are neither there nor to be downloaded.

    Reference: Pace & Barry 1997, doi:10.1016/S0167-7152(96)00140-X; lecture 002 (code slides).
    """
    folder = Path(os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data")).expanduser().absolute()
    cache = folder / "cal_housing_py3.pkz"
    if not cache.is_file():
        _download(folder)
    try:
        table = _unpickled(cache)
        if not (table.ndim == 2 and table.shape[1] == 9 and table.dtype == np.float64):
            raise ValueError(f"it holds {table.dtype} of shape {table.shape}; float64 of 9 columns are wanted")
        if not (np.isfinite(table).all() and (table[:, 6] > 0).all()):
            raise ValueError("it holds numbers that are not finite, or districts without households")
    except Exception as error:  # a damaged file may raise anything
        raise ConfigError(
            f"dataset=california_housing: {cache} cannot be read ({type(error).__name__}: {error}); "
            "delete it and it will be fetched anew"
        ) from error
    value, income, age, rooms, bedrooms, population, households, latitude, longitude = table.T
    means = [rooms / households, bedrooms / households, population, population / households]
    inputs = np.column_stack([income, age, *means, latitude, longitude])
    return Samples(inputs, value / 100_000, "regression", list(FEATURES))


def _download(folder: Path) -> None:
    from sklearn.datasets import fetch_california_housing

    try:
        fetch_california_housing(data_home=str(folder))
    except OSError as error:
        raise ConfigError(
            f"dataset=california_housing: no data in {folder} and the download of {URL} failed ({error}). "
            f"Fetch it elsewhere and save it as {folder / 'cal_housing.tgz'}, "
            "or set SCIKIT_LEARN_DATA to the folder that holds cal_housing_py3.pkz"
        ) from error
    except Exception as error:  # of an archive that someone saved there
        raise ConfigError(
            f"dataset=california_housing: {folder / 'cal_housing.tgz'} cannot be read ({error}); delete it"
        ) from error


def _unpickled(file: Path) -> np.ndarray:
    """The array of numbers in a file of joblib's, which is a pickle: nothing that it names is imported or called.

    The format: a pickle that begins with the array's shape, order and dtype; since joblib 1.1 a byte with the length of
    a padding, and the padding; then the array's bytes, before the pickle goes on. The whole may be packed by zlib.
    """
    packed = file.read_bytes()
    content = BytesIO(zlib.decompressobj().decompress(packed, LARGEST) if packed[:1] == b"\x78" else packed)
    try:
        _Reader(content).load()
        raise UnpicklingError("it holds no array")
    except _Header as header:
        state = header.args[0]
    dtype, shape = state["dtype"], state["shape"]
    if dtype.hasobject:
        raise UnpicklingError("it holds objects, not numbers")
    if state.get("numpy_array_alignment_bytes"):
        content.seek(content.read(1)[0], os.SEEK_CUR)
    return np.frombuffer(content.read(), dtype, count=prod(shape)).reshape(shape, order=state["order"])


class _Header(Exception):
    """What a pickle says of its first array."""


class _Array:
    """In place of joblib's class."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise _Header(state)


class _Reader(_Unpickler):  # the one in C fills gigabytes where a damaged file numbers its parts
    """Knows the names that stand before an array of numbers, and no others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            raise UnpicklingError(f"it names {module}.{name}, and only an array of numbers is read")
        return KNOWN[module, name]


KNOWN = {
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): _Array,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
