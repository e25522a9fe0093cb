"""A config composed without a run of Hydra's: of words, as the command line would."""

from __future__ import annotations

from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from dlrun.config.catalogue import conf_dir
from dlrun.config.check import check
from dlrun.config.loader import guarded


def composed(words: Sequence[str]) -> DictConfig:
    """The config of these overrides, checked, with Hydra's own part.

    Raises ConfigError, or what Hydra raises, for what is wrong with them.
    """
    with guarded(), initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("dlrun", [*words, "name=dlrun"], return_hydra_config=True)
    check(config, config.hydra)
    return config
