"""MLflow: a run in a local store."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlrun.errors import ConfigError
from dlrun.trackers.tracker import Tracker

EXPERIMENT = "dlrun"
TAG = "dlrun.folder"  #: of a run: where it lies, by which it is found again
BATCH = 100  #: parameters that MLflow takes at a time
LETTERS = 500  #: of a parameter's value, that all its versions take


class MLflow(Tracker):
    """Each column is a metric over steps, the config parameters, the status a tag. The store is `mlruns` in the working
    directory, or the local one that `MLFLOW_TRACKING_URI` names; a run that goes on is found there by its folder.

    Raises ConfigError where that names a store that is not local.
    """

    def __init__(self) -> None:
        self.uri = _store()

    def open(self, folder: Path, name: str, config: Mapping[str, str | float | bool], anew: bool) -> int:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # processes of a sweep write side by side into files
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        place = str(folder.resolve())
        self.client = MlflowClient(tracking_uri=self.uri)
        experiment = self._experiment()
        quoted = place.replace("'", "''")
        found = self.client.search_runs(
            [experiment], f"tags.`{TAG}` = '{quoted}'", order_by=["attributes.start_time DESC"], max_results=1
        )
        if found and not anew:
            self.run = found[0].info.run_id
            self.client.update_run(self.run, "RUNNING")
            steps = [each.step for each in self.client.get_metric_history(self.run, "lr")]
            return max(steps, default=-1)
        self.run = self.client.create_run(experiment, run_name=name, tags={TAG: place}).info.run_id
        parameters = [Param(key, str(value)[:LETTERS]) for key, value in config.items()]
        for start in range(0, len(parameters), BATCH):
            self.client.log_batch(self.run, params=parameters[start : start + BATCH])
        return -1

    def _experiment(self) -> str:
        """The id of dlrun's experiment, which another process may make at the same moment."""
        for _ in range(2):
            if (found := self.client.get_experiment_by_name(EXPERIMENT)) is not None:
                return str(found.experiment_id)
            try:
                return str(self.client.create_experiment(EXPERIMENT))
            except Exception as problem:  # it is there now, or the next look says what is wrong
                failed = problem
        raise failed

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        # the rate last: by it a run that goes on knows which rows are whole
        ordered = sorted(values.items(), key=lambda item: item[0] == "lr")
        self.client.log_batch(self.run, metrics=[Metric(key, value, now, step) for key, value in ordered])

    def close(self, status: str, step: int, values: Mapping[str, float] | None) -> None:
        if values is not None:
            self.log(step, values)
        self.client.set_tag(self.run, "status", status)
        ended: Any = {"failed": "FAILED", "interrupted": "KILLED"}.get(status, "FINISHED")
        self.client.set_terminated(self.run, ended)


def _store() -> str:
    """The address of the local store. Raises ConfigError for one elsewhere."""
    named = os.environ.get("MLFLOW_TRACKING_URI", "")
    if re.match(r"(?!file:|sqlite:)[a-z][\w+-]*:", named):
        raise ConfigError(
            f"MLFLOW_TRACKING_URI={named}: a local store is wanted, a folder, file:///... or sqlite:///..."
        )
    return named if ":" in named else Path(named or "mlruns").absolute().as_uri()
