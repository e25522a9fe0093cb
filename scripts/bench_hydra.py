"""A sweep as one writes it with Hydra alone: python scripts/bench_hydra.py -m 'seed=range(16)' lr=1e-4,3e-4,1e-3,3e-3.

Each job is bench_loops' bare loop and leaves its result in its own folder. With `hydra/launcher=joblib` the jobs run
side by side (pip install hydra-joblib-launcher).
"""

from __future__ import annotations

from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

ConfigStore.instance().store("config", {"lr": 1e-3, "seed": 0, "epochs": 50})


@hydra.main(version_base="1.3", config_path=None, config_name="config")
def main(config: DictConfig) -> None:
    if not config.epochs:  # what a job costs beside its training
        return
    import torch
    from bench_loops import bare

    torch.set_num_threads(1)
    _, val_loss, val_accuracy = bare(config.epochs, config.seed, config.lr)
    result = f"val_loss,val_accuracy\n{val_loss},{val_accuracy}\n"
    Path(HydraConfig.get().runtime.output_dir, "metrics.csv").write_text(result)


main()
