"""Tables of openml.org by their names."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from lucidfn.data._arff import Column, read_arff
from lucidfn.data._fetch import OFFLINE, DataError, cache_folder, extra, fetch, is_offline

BASES = ("https://www.openml.org",)


class Table(NamedTuple):
    """Features float32 [N, F] and targets; the names of the features and of the classes.

    Categorical features are numbered, missing values are NaN. y is int32 [N] with -1 for a missing
    class, or float32 [N] with no classes where the target is a number.
    """

    x: np.ndarray
    y: np.ndarray
    features: tuple[str, ...]
    classes: tuple[str, ...]


def openml(name: str, version: int | None = None, *, target: str | None = None,
           ignore: Sequence[str] = (), folder: str | os.PathLike[str] | None = None,
           download: bool | None = None, mirrors: Sequence[str] = (),
           progress: bool = True) -> Table:
    """A table of openml.org by its name, such as "iris" or "mnist_784".

    Without `version` it is the lowest one that is active. `target` is the column to predict, by
    default the one that OpenML names; columns in `ignore`, and those that OpenML says to ignore,
    are left out. Descriptions and files are kept in `folder`, `cache_folder() / "openml"` by
    default; `download=False` or LUCIDFN_OFFLINE reads what is there only. `mirrors` are servers
    with the same interface, tried first. Raises DataError.
    """
    place = cache_folder() / "openml" if folder is None else Path(folder)
    servers = [base.rstrip("/") for base in (*_listed(mirrors), *BASES)]
    offline = is_offline(None if download is None else not download)
    about = _description(name, version, place, servers, offline)
    number, checksum = str(about.get("file_id", "")), str(about.get("md5_checksum", ""))
    if not number.isdecimal() or not re.fullmatch("[0-9a-fA-F]{32}", checksum):
        raise DataError(f"the description of {name!r} names no file with a checksum")
    path = fetch([f"{base}/data/v1/download/{number}" for base in servers], f"{number}.arff",
                 f"md5:{checksum}", place, offline=offline, progress=progress)
    columns, values = read_arff(path)
    left_out = {*ignore, *_names(about.get("ignore_attribute")),
                *_names(about.get("row_id_attribute"))}
    return _table(name, columns, values, target or about.get("default_target_attribute"), left_out)


def _listed(mirrors: Sequence[str]) -> Sequence[str]:
    return (mirrors,) if isinstance(mirrors, str) else mirrors


def _names(field: Any) -> list[str]:
    """Names of columns in a description: none, one, several, or one text with commas."""
    if not field:
        return []
    return [n.strip() for n in field.split(",")] if isinstance(field, str) else list(field)


def _table(name: str, columns: list[Column], values: np.ndarray, target: str | None,
           left_out: set[str]) -> Table:
    names = [column.name for column in columns]
    if target not in names:
        raise DataError(f"{name!r} has no column {target!r} to predict; target= names one of "
                        f"{names[:20]}")
    kept = [i for i, n in enumerate(names) if n != target and n not in left_out]
    unusable = [names[i] for i in (*kept, names.index(target)) if columns[i].categories == ()]
    if unusable:
        raise DataError(f"columns of {name!r} are text or dates: {unusable}; ignore={unusable} "
                        "leaves them out")
    y, classes = values[:, names.index(target)], columns[names.index(target)].categories
    y = y.astype("float32") if classes is None else np.where(np.isnan(y), -1, y).astype("int32")
    return Table(values[:, kept].astype("float32"), y, tuple(names[i] for i in kept), classes or ())


def _description(name: str, version: int | None, folder: Path, servers: Sequence[str],
                 offline: bool) -> dict[str, Any]:
    """What OpenML says about a data set; asked once, and kept."""
    file = folder / f"{re.sub('[^A-Za-z0-9._-]', '_', name)}-{version or 'active'}.json"
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):  # not there, or damaged
        pass
    if offline:
        raise DataError(f"{file} is not there, and downloads are switched off (download=False or "
                        f"{OFFLINE})")
    which = f"data_version/{version}" if version else "status/active"
    listed = _ask(servers, f"data/list/data_name/{quote(name, safe='')}/{which}", name)
    found = listed.get("data", {}).get("dataset", [])
    if not found:
        raise DataError(f"OpenML has no data set {name!r} (version {version or 'that is active'})")
    first = min(found, key=lambda entry: int(entry["version"]))
    about = _ask(servers, f"data/{int(first['did'])}", name).get("data_set_description")
    if not isinstance(about, dict):
        raise DataError(f"OpenML describes {name!r} in a form that is not known here")
    folder.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    beside.write_text(json.dumps(about), "utf-8")
    os.replace(beside, file)
    return about


def _ask(servers: Sequence[str], path: str, name: str) -> dict[str, Any]:
    try:
        import requests
    except ImportError:
        raise extra("pooch", f"downloading {name}") from None
    failures = []
    for base in servers:
        url = f"{base}/api/v1/json/{path}"
        try:
            answer = requests.get(url, timeout=30)
            if answer.status_code == 412:  # how OpenML says that there is none
                return {}
            answer.raise_for_status()
            return answer.json()
        except (requests.RequestException, ValueError) as error:
            failures.append(f"{url}: {type(error).__name__}: {str(error)[:200]}")
    raise DataError(f"OpenML could not be asked about {name!r}:\n  " + "\n  ".join(failures))
