"""The sides of PyTorch in the benchmarks of whole epochs: its users' loop, with a DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from benchmarks.epochs import Epoch, Split
from benchmarks.epochs_ours import recipe_of
from benchmarks.harness import Prepared, once
from benchmarks.in_torch import LAST
from examples.in_torch import Torch
from examples.training import EVALUATED


class ByItem(Dataset):
    """8-bit images, each turned into a normalised tensor when it is asked for."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor):
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return (self.x[i].float().div_(255) - 0.1307) / 0.3081, int(self.y[i])


class Sliced:
    """Batches of rows in a random order, without a DataLoader."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor, size: int):
        self.x, self.y, self.size = x, y, size

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for rows in torch.randperm(len(self.y)).split(self.size):
            yield self.x[rows], self.y[rows]


def tensors(part: Split) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = map(torch.from_numpy, part)
    return x.permute(0, 3, 1, 2).contiguous(), y.long()


def loader_of(kind: str, x: torch.Tensor, y: torch.Tensor, size: int) -> Any:
    if kind == "sliced":
        return Sliced(x, y, size)
    if kind == "by item":
        x = ((x * 0.3081 + 0.1307).clamp(0, 1) * 255).to(torch.uint8)
    dataset = ByItem(x, y) if kind == "by item" else TensorDataset(x, y)
    return DataLoader(dataset, size, shuffle=True)


def epoch(work: Epoch, kind: str = "tensors", last: bool = False) -> Prepared:
    recipe = recipe_of(work)
    train, test = map(tensors, work.data())
    learner = Torch(recipe, seed=0, steps=-(-work.train // recipe.batch_size))
    if last:
        learner.model.to(memory_format=LAST)
    start = {name: w.clone() for name, w in learner.model.state_dict().items()}
    batches = loader_of(kind, *train, recipe.batch_size)
    tests = DataLoader(TensorDataset(*test), EVALUATED)

    def run() -> None:
        total = right = 0.0
        for x, y in batches:
            loss, found = learner.step(x, y)
            total += loss.item()
            right += found.item()
        for x, y in tests:
            loss, found = learner.evaluate(x, y)
            total += loss.item()
            right += found.item()

    def fresh() -> None:
        learner.model.load_state_dict(start)
        for kept in learner.optimizer.state.values():
            for tensor in kept.values():
                tensor.zero_()

    def outputs() -> list[Any]:
        fresh()
        loss, _ = learner.step(*(part[: recipe.batch_size] for part in train))
        return [np.float32(loss.item())]

    run()
    epoch_of = once(run)
    return Prepared(lambda: (fresh(), epoch_of())[1], outputs)
