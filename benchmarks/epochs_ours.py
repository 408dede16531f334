"""The side of lucidfn in the benchmarks of whole epochs: `fit` of the examples."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import numpy as np

import lucidfn.numpy as lnp
from benchmarks.epochs import Epoch
from benchmarks.harness import Prepared, once
from examples.training import Lucidfn, Recipe, Record, fit, loaded, train_epoch
from lucidfn import data, random, tree


def recipe_of(work: Epoch) -> Recipe:
    """The recipe of an example, for one epoch."""
    return replace(importlib.import_module(f"examples.{work.example}").RECIPE, epochs=1)


def epoch(work: Epoch) -> Prepared:
    recipe = recipe_of(work)
    train, test = (data.Examples(*part) for part in work.data())
    learner = Lucidfn(recipe, seed=0, steps=data.batch_count(len(train.y), recipe.batch_size))
    start = tree.map(lambda a: lnp.array(a, copy=True), learner.snapshot())

    def run(order: Any) -> Record:
        record = Record()
        if work.test:
            fit(learner, recipe, train, test, order, record, progress=False)
        else:
            train_epoch(learner, loaded(learner, recipe, train, order), record)
        return record

    def fresh() -> None:
        learner.restore(tree.map(lambda a: lnp.array(a, copy=True), start))

    def outputs() -> list[Any]:
        fresh()
        return [np.float32(run(None).losses[0])]

    run(random.key(0))  # compiled before anything is timed
    epoch_of = once(lambda: run(random.key(0)).losses)
    return Prepared(lambda: (fresh(), epoch_of())[1], outputs)
