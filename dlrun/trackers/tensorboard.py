"""TensorBoard: events in a file of the run's folder, which `tensorboard --logdir outputs` finds."""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dlrun.files.opening import append_bytes, read_bytes, truncate
from dlrun.trackers.tracker import Tracker

FILE = "events.out.tfevents.dlrun"


class TensorBoard(Tracker):
    """Each column is a scalar over steps; the config is a row of the hyperparameters' page, and what was reached beside
    it. A run that goes on adds to the file that it has, from its last whole event."""

    def open(self, folder: Path, name: str, config: Mapping[str, str | float | bool], anew: bool) -> int:
        from torch.utils.tensorboard.summary import hparams

        self.file, last, length = folder / FILE, -1, 0
        self.config = dict(config)
        if self.file.exists():
            for end, event in [] if anew else _events(read_bytes(folder, FILE)):
                length = end
                if any(not value.tag.startswith("_hparams_") for value in event.summary.value):
                    last = max(last, event.step)
            truncate(self.file, length)
        if not length:
            experiment, session, _ = hparams(self.config, {"val_loss": 0.0})
            self._write(0, file_version="brain.Event:2")
            for summary in (experiment, session):
                self._write(0, summary=summary)
        return last

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(step, summary=Summary(value=scalars))

    def close(self, status: str, step: int, values: Mapping[str, float] | None) -> None:
        if values is None:
            return
        from torch.utils.tensorboard.summary import hparams

        self.log(step, values)
        self._write(step, summary=hparams(self.config, {"val_loss": 0.0})[2])

    def _write(self, step: int, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        record = io.BytesIO()
        RecordWriter(record).write(Event(wall_time=time.time(), step=step, **content).SerializeToString())
        append_bytes(self.file, record.getvalue())


def _events(content: bytes) -> Iterator[tuple[int, Any]]:
    """The whole events of a file, each with where it ends: length (8 bytes), checksum (4), the event, its own (4)."""
    from tensorboard.compat.proto.event_pb2 import Event

    start = 0
    while len(content) >= start + 12:
        [size] = struct.unpack_from("<Q", content, start)
        end = start + 12 + size + 4
        if end > len(content):
            return
        yield end, Event.FromString(content[start + 12 : end - 4])
        start = end
