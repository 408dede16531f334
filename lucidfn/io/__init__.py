"""Files: trees in safetensors, checkpoints, and weights in the names and layouts of PyTorch.

    lf.save("model.safetensors", {"params": params, "opt": opt_state, "key": key, "step": 7})
    tree = lf.load("model.safetensors")

What is written is defined in docs/files.md. Nothing is ever unpickled.
"""

from lucidfn import optim as _optim  # its states are types that files name
from lucidfn.io import checkpoint, files, torch
from lucidfn.io.checkpoint import Checkpoint, Checkpointer
from lucidfn.io.files import load, save, shapes
from lucidfn.io.torch import from_torch, read_state_dict, to_torch

__all__ = ["Checkpoint", "Checkpointer", "from_torch", "load", "read_state_dict", "save", "shapes",
           "to_torch"]
