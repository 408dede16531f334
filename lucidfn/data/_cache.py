"""Decoded arrays as files that are mapped into memory, written as a whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

PARTS = ("train_x", "train_y", "test_x", "test_y")


def mapped(folder: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays of a folder, read-only and mapped; made and stored where they are not there."""
    try:
        return _open(folder)
    except (OSError, ValueError, EOFError):  # not there, or damaged
        arrays = make()
    _store(folder, arrays)
    return _open(folder)


def _open(folder: Path) -> dict[str, np.ndarray]:
    # allow_pickle is off: a damaged file is an error and never a program.
    return {part: np.load(folder / f"{part}.npy", mmap_mode="r", allow_pickle=False)
            for part in PARTS}


def _store(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Written beside the folder and renamed, so that no reader sees a part of it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name}."))
    try:
        for part in PARTS:
            with open(beside / f"{part}.npy", "wb") as file:
                np.save(file, arrays[part], allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
        if folder.exists():  # what could not be read
            shutil.rmtree(folder)
        try:
            beside.rename(folder)
        except OSError:
            if not folder.exists():
                raise
            # Another process stored the same arrays in the meantime.
    finally:
        shutil.rmtree(beside, ignore_errors=True)
