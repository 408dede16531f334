"""Every notebook runs from top to bottom; what is stored with it is small and without errors.

After a change `python tests/test_notebooks.py` runs the notebooks (or those that it is given by
name: `quickstart`) and stores their outputs. One that imports PyTorch is a comparison with peers.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of these packages and what they import
    import nbformat
    from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PEERS = [path for path in NOTEBOOKS if "import torch" in path.read_text()]
LARGEST = 300_000  # bytes, pictures included


def run(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with fresh outputs; CellExecutionError, with the traceback, if a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    # Streams are joined: of a progress bar the last line is stored.
    NotebookClient(notebook, timeout=120, kernel_name="python3", coalesce_streams=True,
                   resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("path", [
    pytest.param(path, id=path.stem, marks=[pytest.mark.peers] if path in PEERS else [])
    for path in NOTEBOOKS])
def test_runs(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if path in PEERS and find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = run(path, tmp_path)
    printed = [(cell.source, out.text) for cell in notebook.cells if cell.cell_type == "code"
               for out in cell.outputs if out.output_type == "stream" and out.name == "stderr"]
    assert not printed, f"warnings: {printed}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_stored_with_its_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)), "run all cells in order, then save"
    kinds = {out.output_type for cell in notebook.cells for out in cell.get("outputs", [])}
    assert "error" not in kinds
    assert path.stat().st_size < LARGEST
    assert str(ROOT) not in path.read_text()


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = str(ROOT)
    for path in [path for path in NOTEBOOKS if path.stem in (sys.argv[1:] or path.stem)]:
        notebook = run(path, path.parent)
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # times, which differ with each run
        notebook.metadata["language_info"] = {"name": "python"}
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size:,} bytes")
