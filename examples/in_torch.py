"""The same recipes in PyTorch, with its modules, optimizers and schedule. Needs torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from examples.torch_models import MODELS
from examples.training import Recipe
from lucidfn import io

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
DEVICES = {"cpu": "cpu", "gpu": "mps" if torch.backends.mps.is_available() else "cuda"}


class Torch:
    """A recipe in PyTorch, from the start that lucidfn has."""

    name = "torch"

    def __init__(self, recipe: Recipe, seed: int, steps: int, dtype: str = "float32",
                 device: str = "cpu"):
        """`steps` are those of an epoch."""
        if device not in DEVICES:
            raise ValueError(f"the PyTorch side got device={device!r}, expected one of "
                             f"{sorted(DEVICES)}")
        self.device, self.versions = DEVICES[device], {"torch": torch.__version__}
        arrays = io.to_torch(recipe.model, *recipe.start(seed, dtype), flatten=recipe.flatten)
        self.model = MODELS[recipe.twin]().to(self.device, getattr(torch, dtype))
        self.model.load_state_dict({name: torch.from_numpy(x) for name, x in arrays.items()})
        self.optimizer = OPTIMIZERS[recipe.optimizer](
            self.model.parameters(), lr=recipe.learning_rate, **recipe.options)
        self.schedule = None
        if recipe.step_lr is not None:
            epochs, factor = recipe.step_lr
            self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, epochs * steps, factor)

    def put(self, batch: Any) -> Any:
        """Images become [N, C, H, W]."""
        x, y = map(torch.from_numpy, batch)
        return x.permute(0, 3, 1, 2).contiguous().to(self.device), y.long().to(self.device)

    def step(self, x: Any, y: Any) -> tuple[Any, Any]:
        self.model.train()
        self.optimizer.zero_grad()
        logits = self.model(x)
        loss = F.cross_entropy(logits, y)
        loss.backward()
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        return loss.detach(), (logits.argmax(1) == y).sum()

    @torch.no_grad()
    def evaluate(self, x: Any, y: Any) -> tuple[Any, Any]:
        self.model.eval()
        logits = self.model(x)
        return F.cross_entropy(logits, y, reduction="sum"), (logits.argmax(1) == y).sum()

    def snapshot(self) -> Any:
        return {
            "model": {name: as_numpy(x) for name, x in self.model.state_dict().items()},
            "optimizer": {str(i): {name: as_numpy(x) for name, x in kept.items()}
                          for i, kept in self.optimizer.state_dict()["state"].items()},
            "schedule": self.schedule and self.schedule.state_dict(),
        }

    def restore(self, snapshot: Any) -> None:
        self.model.load_state_dict({k: as_tensor(x) for k, x in snapshot["model"].items()})
        kept = {int(i): {name: as_tensor(x) for name, x in found.items()}
                for i, found in snapshot["optimizer"].items()}
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": kept, "param_groups": groups})
        if self.schedule is not None:
            self.schedule.load_state_dict(snapshot["schedule"])
            rates = self.schedule.get_last_lr()
            for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate


def as_numpy(x: Any) -> Any:
    return x.detach().cpu().numpy().copy() if isinstance(x, torch.Tensor) else x


def as_tensor(x: Any) -> Any:
    return torch.from_numpy(np.array(x)) if isinstance(x, np.ndarray) else x
