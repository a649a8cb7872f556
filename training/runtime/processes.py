"""Several processes that train one flow: which of them this is, and what the Trainer is told. No torch."""

import os
from typing import Any


def rank(devices: int) -> int:
    """This process' number; 0 is the one that writes and speaks.

    Slurm and torchrun say it; Lightning, which starts the others on a machine itself, says which of the machine's it is.

    Args:
        devices: processes on each machine.
    """
    for name in ("RANK", "SLURM_PROCID"):
        if name in os.environ:
            return int(os.environ[name])
    return int(os.environ.get("NODE_RANK", 0)) * devices + int(os.environ.get("LOCAL_RANK", 0))


def trainer_settings(accelerator: str, devices: int, num_nodes: int) -> dict[str, Any]:
    """What a Lightning Trainer takes for so many processes; exits at rest get no gradients, so DDP must look for them."""
    strategy = "ddp_find_unused_parameters_true" if devices * num_nodes > 1 else "auto"
    return {"accelerator": accelerator, "devices": devices, "num_nodes": num_nodes, "strategy": strategy}
