"""Where a finished classifier changes its mind: the classes that it predicts over a plane of two inputs."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch

from dlrun.diagnostics.diagnostic import Found, OfFinished, Part, Row, View
from dlrun.diagnostics.inputs import features_of, grids, in_own_units
from dlrun.diagnostics.predictions import need_classes, predictions
from dlrun.diagnostics.probe import Probe
from dlrun.errors import ConfigError
from dlrun.metrics import classes_of, confidence_of
from dlrun.training.stack import Stack


class DecisionBoundary(OfFinished):
    r"""The predicted class $\arg\max_k p_k(x)$ and its probability on a grid over two inputs, and at samples.

    The inputs are in their own units, before dataset.scale; where a dataset has more than two, `features` names two,
    and all others are at their mean over the training part: a cut through the classifier, on which samples only seem
    to lie. The grid spans the samples of all parts and 5 % more. Batch normalization goes by its running averages.

    Rows of `quantity` grid, or train, val or test for a sample: `x`, `y`, the class `predicted`, the `probability` of
    it (no number where the loss makes none of the outputs), and of a sample the `true` class.

    Args:
        part, samples: the samples shown: so many of "train", "val" or "test"; None: all.
        points: of the grid, along each input.
        features: the names of two inputs; None: those that a dataset of two has.

    Raises ConfigError for other than classes, inputs that are no rows of a table, or features that are not there.

    Reference: lectures 002, 004.
    """

    def __init__(self, part: Part, samples: int | None, points: int, features: Sequence[str] | None) -> None:
        self.part, self.samples, self.points, self.features = part, samples, points, features

    def fits(self, stack: Stack) -> None:
        need_classes(stack, "leave it out, or look at diagnostics=fit")
        self._columns(stack)

    def _columns(self, stack: Stack) -> list[int]:
        names = features_of(stack.dataset)
        chosen = names if self.features is None else list(self.features)
        listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        if len(chosen) != 2 or len(set(chosen)) != 2:
            what = f"{len(names)}" if self.features is None else f"features=[{','.join(chosen)}]"
            how = f"name two, as 'diagnostics.decision_boundary.features={json.dumps(names[:2])}', of {listed}"
            raise ConfigError(f"it is drawn over two inputs, not {what}: {how if len(names) > 1 else 'leave it out'}")
        for name in chosen:
            if name not in names:
                raise ConfigError(f"features: there is no input {name}; there are {listed}")
        return [names.index(name) for name in chosen]

    def look(self, view: View) -> list[Found]:
        stack, columns = view.stack, self._columns(view.stack)
        names = [features_of(stack.dataset)[column] for column in columns]
        points, lattice = grids(stack, columns, self.points)
        probe = Probe.of(stack, self.part, self.samples)
        over, at = self._predicted(stack, lattice), self._predicted(stack, probe)
        found = []
        for run in range(stack.runs):
            data = stack.variants[stack.variant[run]]
            x, y = (each if probe.shared else each[run] for each in (probe.x, probe.y))
            places = in_own_units(data, x)[:, columns].tolist()
            true = [data.classes[target] for target in y.long().tolist()]
            rows: list[Row] = [
                {"quantity": what, "x": x1, "y": x2, "predicted": data.classes[k], "probability": p, "true": name}
                for what, where, said, of_point in (
                    ("grid", points[run].tolist(), over[run], [""] * len(points[run])),
                    (self.part, places, at[run], true),
                )
                for (x1, x2), (k, p), name in zip(where, said, of_point, strict=True)
            ]
            found.append(Found(rows, summary=dict(zip("xy", names, strict=True))))
        return found

    def _predicted(self, stack: Stack, probe: Probe) -> list[list[tuple[int, float]]]:
        """By run and sample, the predicted class and its probability."""
        outputs, binary = predictions(stack, probe, "running"), stack.dataset.task == "binary"
        probability = confidence_of(outputs, binary)
        if not stack.measures.loss.probabilistic:
            probability = torch.full_like(probability, torch.nan)
        pairs = zip(classes_of(outputs, binary).long().tolist(), probability.tolist(), strict=True)
        return [list(zip(*of_run, strict=True)) for of_run in pairs]
