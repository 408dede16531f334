"""State dicts without PyTorch: what does not fit is listed, and weights are had by name."""

import functools
import hashlib
import http.server
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
from lucidfn import data, io, models, nn, random, tree
from lucidfn.models import weights


def test_all_that_does_not_fit_is_listed() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    given = io.to_torch(model, *model.init(random.key(0)))
    del given["0.bias"], given["1.running_var"]
    given["0.weight"] = given["0.weight"].T
    given["extra.weight"] = np.zeros((2, 2))
    with pytest.raises(ValueError) as error:
        io.from_torch(given, model)
    assert str(error.value).splitlines() == [
        "the state dict does not fit Sequential:",
        "  unexpected: extra.weight float64[2,2]",
        "  missing: 0.bias (0.bias float32[4])",
        "  different: 0.weight has shape (3, 3, 3, 4), expected (4, 3, 3, 3) (here 0.weight "
        "(3, 3, 3, 4))",
        "  missing: 1.running_var (1.running_var float32[4])"]


def test_patterns_of_names_are_ignored() -> None:
    given = {"weight": np.ones((2, 3)), "bias": np.ones(2), "a.mask": np.ones(1)}
    params, _ = io.from_torch(given, nn.Linear(3, 2), ignore=["*.mask"])
    assert params["weight"].shape == (3, 2)
    with pytest.raises(ValueError, match=r"unexpected: a.mask float64\[1\]"):
        io.from_torch(given, nn.Linear(3, 2))


def test_flatten_must_name_a_layer() -> None:
    with pytest.raises(ValueError, match=r"flatten names \['fc9'\]"):
        io.from_torch({}, models.LeNet5(), flatten={"fc9": (1, 2, 3)})


def test_what_is_no_state_dict() -> None:
    with pytest.raises(TypeError, match=r"module.state_dict\(\)"):
        io.from_torch(3, nn.Linear(3, 2))
    with pytest.raises(ValueError, match="is none of a ResNet-18"):
        models.resnet18_from_torch({"weight": np.ones(3)})
    with pytest.raises(ValueError, match="no 'wte.weight', and is none of a GPT-2"):
        models.gpt2_from_torch({"weight": np.ones(3)})


def test_a_file_in_several_parts(tmp_path: Path) -> None:
    lf.save(tmp_path / "a-1.safetensors", {"weight": np.ones((2, 3), "float32")})
    lf.save(tmp_path / "a-2.safetensors", {"bias": np.zeros(2, "float32")})
    index = tmp_path / "a.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"weight": "a-1.safetensors",
                                                "bias": "a-2.safetensors"}}))
    params, _ = io.from_torch(index, nn.Linear(3, 2))
    assert params["weight"].shape == (3, 2)


@pytest.mark.parametrize(("module", "source", "words"), [
    ("torch", "x.pth", "needs torch"), ("huggingface_hub", "hf://a/b", "lucidfn.hub.")])
def test_extras_that_are_missing(monkeypatch: pytest.MonkeyPatch, module: str, source: str,
                                 words: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=words):
        io.read_state_dict(source)


def test_a_repository_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Hub:
        @staticmethod
        def hf_hub_download(repo: str, name: str, revision: Any = None) -> str:
            calls.append((repo, name, revision))
            return str(tmp_path / "model.safetensors")

    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub)
    lf.save(tmp_path / "model.safetensors", {"weight": np.ones((2, 3)), "bias": np.ones(2)})
    for place in ("a/b", "a/b@main", "a/b/folder/x.safetensors"):
        io.from_torch(f"hf://{place}", nn.Linear(3, 2))
    assert calls == [("a/b", "model.safetensors", None), ("a/b", "model.safetensors", "main"),
                     ("a/b", "folder/x.safetensors", None)]


# ------------------------------------------------------------------ weights by name

@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder and the URL it is served at; downloads go to a folder of their own."""
    pytest.importorskip("pooch")
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setenv("LUCIDFN_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "REGISTRY", dict(weights.REGISTRY))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    httpd = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_weights_by_name(server: tuple[Path, str]) -> None:
    folder, url = server
    params, state = models.LeNet5().init(random.key(3))
    path = folder / "lenet.safetensors"
    lf.save(path, {"params": params, "state": state})
    models.register_weights("lenet", f"{url}/lenet.safetensors", sha256(path))
    assert "lenet" in models.list_weights()
    model = models.LeNet5(weights="lenet")
    assert "weights='lenet'" in repr(model)
    found, _ = model.init(random.key(0))
    assert tree.all(tree.map(lambda a, b: bool((a == b).all()), found, params))
    path.unlink()  # the second time from the cache
    model.init(random.key(0))
    assert models.download_weights("lenet", offline=True).exists()
    # What the weights are for does not download them.
    assert io.to_torch(models.LeNet5(weights="lenet"), params)["fc1.weight"].shape == (120, 256)


def test_weights_with_the_names_of_pytorch(server: tuple[Path, str]) -> None:
    folder, url = server
    made = models.resnet18(10, "cifar")
    params, state = made.init(random.key(3))
    path = folder / "resnet.safetensors"
    lf.save(path, io.to_torch(made, params, state))
    models.register_weights("small", f"{url}/resnet.safetensors", sha256(path))
    found = models.resnet18(10, "cifar", weights="small").init(random.key(0))
    assert tree.all(tree.map(lambda a, b: bool((a == b).all()), found, (params, state)))


def test_weights_that_do_not_arrive(server: tuple[Path, str]) -> None:
    folder, url = server
    (folder / "x.safetensors").write_bytes(b"other")
    models.register_weights("wrong", f"{url}/x.safetensors", "0" * 64)
    with pytest.raises(data.DataError, match="does not have the checksum"):
        models.LeNet5(weights="wrong").init(random.key(0))
    models.register_weights("gone", f"{url}/gone.safetensors", "0" * 64)
    with pytest.raises(data.DataError, match="404"):
        models.LeNet5(weights="gone").init(random.key(0))
    with pytest.raises(data.DataError, match="downloads are switched off"):
        models.download_weights("gone", offline=True)


def test_weights_of_another_architecture(server: tuple[Path, str]) -> None:
    folder, url = server
    path = folder / "lenet.safetensors"
    params, state = models.LeNet5(num_classes=3).init(random.key(0))
    lf.save(path, {"params": params, "state": state})
    models.register_weights("three", f"{url}/lenet.safetensors", sha256(path))
    with pytest.raises(ValueError, match=r"weights='three' do not fit LeNet5(.|\n)*fc3.bias is "
                                         r"float32\[3\] in the file, expected float32\[10\]"):
        models.LeNet5(weights="three").init(random.key(0))


def test_names_of_weights() -> None:
    with pytest.raises(ValueError, match="weights='nothing' are not known, expected one of"):
        models.resnet18(weights="nothing")
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        models.register_weights("x", "https://example.org/x.pth", "abc")
