"""A table in a Parquet file, whose columns have declared types."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlrun.datasets.tables.cells import numbers
from dlrun.datasets.tables.columns import Raw
from dlrun.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd


def read_parquet(file: Path) -> Iterator[pd.Series]:
    """The columns of a Parquet file in their order, after the levels of a pandas index that is kept in it.

    Each goes once the next one is asked for: a table may take much of the memory.

    Raises ConfigError for a damaged file, and where pyarrow is missing.
    """
    import pandas as pd

    try:
        from pyarrow import default_memory_pool
        from pyarrow.parquet import ParquetFile

        with ParquetFile(file, pre_buffer=False) as content:
            declared = (content.schema_arrow.pandas_metadata or {}).get("columns", [])
            table = content.read(use_pandas_metadata=True)
        categorical = {each["name"] for each in declared if each["pandas_type"] == "categorical"}  # lost for numbers
        frame = table.to_pandas(split_blocks=True, self_destruct=True)
        del table
    except ImportError as error:
        raise ConfigError(f"{file}: Parquet needs pyarrow: pip install pyarrow, or save the table as CSV") from error
    except Exception as error:  # pyarrow raises anything for a damaged file
        raise ConfigError(f"{file} cannot be read as .parquet: {str(error).strip() or repr(error)}") from error
    columns = [frame.iloc[:, i] for i in reversed(range(frame.shape[1]))]
    if not isinstance(frame.index, pd.RangeIndex) or frame.index.name is not None:
        for i in range(frame.index.nlevels):
            level = frame.index.get_level_values(i)
            yield pd.Series(level.array, name="" if level.name is None else str(level.name))
    del frame
    while columns:
        column = columns.pop()
        column = column.astype("category") if column.name in categorical else column
        yield column.rename(str(column.name)).reset_index(drop=True)
    default_memory_pool().release_unused()  # else pyarrow keeps more than the table's own size for itself


def raw_column(column: pd.Series, missing: Collection[str]) -> Raw:
    """A column by its declared type.

    missing: texts and numbers that are taken as missing.
    """
    import pandas as pd
    from pandas.api import types

    name = str(column.name)
    if types.is_bool_dtype(column.dtype) and not isinstance(column.dtype, pd.CategoricalDtype):
        return Raw(name, "boolean", column.to_numpy(np.float32, na_value=np.nan))
    if types.is_numeric_dtype(column):
        stored: Any = getattr(column.dtype, "numpy_dtype", column.dtype)  # of pandas' types with missing values
        values = column.to_numpy(np.float32 if np.can_cast(stored, np.float32) else np.float64, na_value=np.nan)
        if sentinels := _floats(missing):
            values = np.where(np.isin(values, sentinels), np.array(np.nan, values.dtype), values)
        return Raw(name, "number", values)
    if types.is_datetime64_any_dtype(column):
        return Raw(name, "date", _moments(column))
    if types.is_timedelta64_dtype(column):
        return Raw(name, "time", column.dt.total_seconds().to_numpy(np.float64) / 3600)
    kinds = {type(cell) for cell in column.dropna()}
    if not kinds:
        return Raw(name, "number", np.full(len(column), np.nan))
    if kinds <= {decimal.Decimal}:
        return Raw(name, "number", np.array([np.nan if cell is None else float(cell) for cell in column]))
    if kinds <= {datetime.date}:
        return Raw(name, "date", np.array(column.array, dtype="datetime64[us]"))
    if kinds <= {datetime.time}:
        return Raw(name, "time", np.array([_hours(cell) for cell in column]))
    if not kinds <= {str, bool, int, float}:
        return Raw(name, "unfit", np.zeros(len(column)), [" and ".join(sorted(kind.__name__ for kind in kinds))])
    absent = column.isna().to_numpy()
    cells = [None if gone else str(cell) for cell, gone in zip(column, absent, strict=True)]
    return Raw.of_texts(name, cells, missing, "string")


def _floats(texts: Collection[str]) -> list[float]:
    return [value for value in numbers(list(texts))[0] if value == value]


def _moments(column: pd.Series) -> np.ndarray:
    """datetime64 as the clock showed it, where a time zone is declared in that zone."""
    plain = column.dt.tz_localize(None) if getattr(column.dtype, "tz", None) is not None else column
    return plain.to_numpy(dtype="datetime64[us]")


def _hours(cell: Any) -> float:
    if cell is None:
        return float("nan")
    return cell.hour + cell.minute / 60 + (cell.second + cell.microsecond / 1e6) / 3600
