"""California housing through scikit-learn's fetcher and its cache."""

from __future__ import annotations

import os
from pathlib import Path

from dlrun.datasets.data import Samples
from dlrun.errors import ConfigError

URL = "https://ndownloader.figshare.com/files/5976036"  #: what scikit-learn's fetcher downloads


def california_housing() -> Samples:
    """Median house value (in 100,000 dollars) of 20,640 Californian districts in 1990, by 8 features of the census.

    Kept in scikit-learn's data folder: `$SCIKIT_LEARN_DATA`, else `~/scikit_learn_data`. Raises ConfigError where
    the data are neither there nor to be downloaded.

    Reference: Pace & Barry 1997, doi:10.1016/S0167-7152(96)00140-X; lecture 002 (code slides).
    """
    from sklearn.datasets import fetch_california_housing

    folder = Path(os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data")).expanduser().absolute()
    try:
        bunch = fetch_california_housing(data_home=str(folder))
    except OSError as error:
        raise ConfigError(
            f"dataset=california_housing: no data in {folder} and the download of {URL} failed ({error}). "
            f"Fetch it elsewhere and save it as {folder / 'cal_housing.tgz'}, "
            "or set SCIKIT_LEARN_DATA to the folder that holds cal_housing_py3.pkz"
        ) from error
    except Exception as error:  # the cache is a pickle: a damaged one may raise anything
        raise ConfigError(
            f"dataset=california_housing: {folder / 'cal_housing_py3.pkz'} cannot be read "
            f"({type(error).__name__}: {error}); delete it and it will be fetched anew"
        ) from error
    return Samples(bunch.data, bunch.target, "regression", list(bunch.feature_names))
