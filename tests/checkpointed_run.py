"""A training run that is killed and resumed by tests/test_io_checkpoint.py.

    python checkpointed_run.py FOLDER STEPS OUTPUT
"""

import sys
from typing import Any

import numpy as np

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, optim, random
from lucidfn.data import batches

MODEL = nn.Sequential(nn.Linear(12, 32), nn.BatchNorm1d(32), nn.relu, nn.Dropout(0.2),
                      nn.Linear(32, 3))
TX = optim.adamw(optim.cosine_decay_schedule(1e-2, 200))


@lf.jit
def train_step(run: Any, x: Any, y: Any) -> Any:
    key = random.fold_in(run["key"], run["step"])

    def loss(params: Any) -> Any:
        logits, state = MODEL.apply(params, run["state"], x, train=True, key=key)
        return nn.losses.cross_entropy(logits, y), state

    (value, state), grads = lf.value_and_grad(loss, has_aux=True)(run["params"])
    updates, opt = TX.update(grads, run["opt"], run["params"])
    return {"params": optim.apply_updates(run["params"], updates), "state": state, "opt": opt,
            "key": run["key"], "step": run["step"] + 1, "loss": value}


def main(folder: str, steps: int, output: str) -> None:
    """Train for so many steps, of which 7 are an epoch; a checkpoint after each."""
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(100, 12)).astype("float32"), rng.integers(0, 3, 100).astype("int32"))
    checkpoints = lf.Checkpointer(folder, keep=2, best="min")
    found = checkpoints.restore()
    if found is None:
        params, state = MODEL.init(random.key(0))
        run = {"params": params, "state": state, "opt": TX.init(params), "key": random.key(1),
               "step": lnp.asarray(0, "int32"), "loss": lnp.asarray(0.0, "float32")}
    else:
        run = found.tree
    start = int(run["step"])
    print("started", start, flush=True)
    for x, y in batches(random.key(2), data, 16, epochs=None, start=start):
        if int(run["step"]) == steps:
            break
        run = train_step(run, x, y)
        checkpoints.save(int(run["step"]), run, score=run["loss"])
    lf.save(output, run)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
