"""Trained weights by name: where they are, their checksums, and how they are read.

    model = models.resnet18(weights="resnet18")
    params, state = model.init(random.key(0))  # downloaded once, verified, and kept

`register_weights` adds names: of files of your own, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from lucidfn import random
from lucidfn.api.inspect import eval_shape
from lucidfn.data._fetch import cache_folder, fetch
from lucidfn.io.files import load, shapes
from lucidfn.io.torch import from_torch
from lucidfn.nn.layer import Layer, Params, State

Reader = Callable[[Layer, Path], tuple[Params, State]]


class Weights(NamedTuple):
    """Published weights: the URL and SHA-256 of a file, and `read(model, path)` for it."""

    url: str
    sha256: str
    read: Reader
    about: str = ""


def read_file(model: Layer, path: Path) -> tuple[Params, State]:
    """From `lf.save(path, {"params": params, "state": state})`, or a PyTorch state dict."""
    ours = path.suffix == ".safetensors" and any(n.startswith("params.") for n in shapes(path))
    if not ours:
        return from_torch(path, model)
    params, state = eval_shape(model.init, random.key(0))
    tree = load(path, {"params": params, "state": state})
    return tree["params"], tree["state"]


REGISTRY: dict[str, Weights] = {}


def register_weights(name: str, url: str, sha256: str, read: Reader = read_file,
                     about: str = "") -> None:
    """Add weights that models take by name: `models.resnet18(weights=name)`.

    `read(model, path)` gives (params, state); the default takes what
    `lf.save(path, {"params": params, "state": state})` wrote, and PyTorch state dicts of the same
    names. ValueError for a checksum that is not SHA-256 in hexadecimal digits.
    """
    if len(sha256) != 64 or set(sha256.lower()) - set("0123456789abcdef"):
        raise ValueError(f"sha256 must be 64 hexadecimal digits, got {sha256!r}")
    REGISTRY[name] = Weights(url, sha256.lower(), read, about)


def list_weights() -> list[str]:
    """The names of all weights.

    >>> [name for name in list_weights() if name.startswith("resnet")]
    ['resnet18', 'resnet34', 'resnet50']
    """
    return sorted(REGISTRY)


def check_name(name: str | None) -> None:
    """ValueError for a name that is not registered."""
    if name is not None and name not in REGISTRY:
        raise ValueError(f"weights={name!r} are not known, expected one of {list_weights()} or "
                         "None; models.register_weights adds others")


def download_weights(name: str, *, offline: bool | None = None, progress: bool = True) -> Path:
    """The path of the file of these weights, downloaded where it is not in the cache yet.

    The cache is the folder `weights` of `LUCIDFN_DATA`, or of the user's cache folder. Raises
    `data.DataError` where there is no network, the checksum is wrong, or pooch is not installed.
    """
    check_name(name)
    entry = REGISTRY[name]
    file = Path(urlsplit(entry.url).path).name
    # Files of one name and different contents ("model.safetensors") stay apart.
    folder = cache_folder() / "weights" / entry.sha256[:8]
    return fetch(entry.url, file, f"sha256:{entry.sha256}", folder, offline=offline,
                 progress=progress)


def pretrained(model: Layer, name: str) -> tuple[Params, State]:
    """(params, state) of a model with these weights; ValueError where the architectures differ."""
    path = download_weights(name)
    try:
        return REGISTRY[name].read(replace(model, weights=None), path)  # type: ignore[type-var]
    except ValueError as error:
        raise ValueError(f"weights={name!r} do not fit {model.headline()}: {error}") from error


TORCHVISION = "https://download.pytorch.org/models/"
IMAGENET = "ImageNet (torchvision's IMAGENET1K_V1), images in [0, 1] less their mean " \
           "(.485, .456, .406), divided by their standard deviation (.229, .224, .225)"
register_weights(
    "resnet18", TORCHVISION + "resnet18-f37072fd.pth",
    "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec", about=IMAGENET)
register_weights(
    "resnet34", TORCHVISION + "resnet34-b627a593.pth",
    "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f", about=IMAGENET)
register_weights(
    "resnet50", TORCHVISION + "resnet50-0676ba61.pth",
    "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a", about=IMAGENET)

__all__ = ["Weights", "download_weights", "list_weights", "register_weights"]
