"""Hydra's `hydra/sweeper=optuna`: Optuna chooses points, batch by batch. Light, as launcher.py is."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from dlrun.errors import ConfigError


class Optuna(BasicSweeper):
    """A search by `dlrun.sweep.search`, whose arguments these are; `conf/hydra/sweeper/optuna.yaml` has them.

    Args:
        params: overrides by their keys.
        max_time, keep: for `dlrun.sweep.launch`, which finds them in the config.
        retry_failed: with a launcher that is not dlrun's, train failed runs again.
    """

    def __init__(
        self,
        params: Any,
        direction: str | Sequence[str] | None,
        max_time: float | str | None,
        keep: str,
        retry_failed: bool,
        **options: Any,
    ) -> None:
        super().__init__(max_batch_size=None, params=params)
        self.retry_failed = retry_failed
        several: Any = OmegaConf.to_container(direction) if OmegaConf.is_config(direction) else direction
        self.directions: list[str] | None = [several] if isinstance(several, str) else several
        self.options = options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        if find_spec("optuna") is None:
            raise ConfigError("hydra/sweeper=optuna needs Optuna: pip install 'dlrun[optuna]'")
        for key in ("zip", "settings"):
            if config[key] is not None:
                raise ConfigError(f"{key}: hydra/sweeper=optuna chooses the values itself; leave {key} out")
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        from dlrun.sweep.other_launchers import recorded

        assert self.launcher is not None
        self.launcher = recorded(self.launcher, hydra_context, config, self.retry_failed)

    def sweep(self, arguments: list[str]) -> None:
        """Search over what the arguments give several values, and leave what was found in the sweep's folder."""
        from dlrun.sweep.search import Search
        from dlrun.sweep.space import Space

        assert self.config is not None and self.hydra_context is not None and self.launcher is not None
        loader = self.hydra_context.config_loader
        overrides = OverridesParser.create(loader).parse_overrides([*self._parse_config(), *arguments])
        space = Space.of(overrides)
        space.check(self.config, loader)
        Search(
            space,
            space.problem(self.config, loader),
            self.config,
            self.launcher.launch,
            self.directions,
            **self.options,
        ).run()
