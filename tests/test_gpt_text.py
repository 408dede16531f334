"""The character model of examples/gpt_text.py: training, resuming, sampling, and its messages."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
from lucidfn import data, models, random

for needed in ("tqdm", "matplotlib"):
    pytest.importorskip(needed)

SMALL = ["--context", "16", "--embed", "16", "--heads", "2", "--layers", "1", "--batch", "8",
         "--every", "20", "--lr", "0.02", "--length", "40"]
TEXT = "the quick brown fox jumps over the lazy dog, and the dog sleeps. " * 20


@pytest.fixture(scope="module")
def example() -> ModuleType:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    try:
        from examples import gpt_text
    finally:
        sys.path.pop(0)
    return gpt_text


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "fox.txt"
    path.write_text(TEXT, "utf-8")
    return path


def command(example: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["gpt_text", *SMALL, *map(str, arguments)])
    example.main()


def test_a_run(example: ModuleType, monkeypatch: pytest.MonkeyPatch, text: Path, tmp_path: Path,
               capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command(example, monkeypatch, "--text", text, "--out", out, "--steps", 60, "--prompt", "the ")
    history = json.loads((out / "history.json").read_text())
    assert len(history["loss"]) == 60 and history["loss"][-1] < 0.7 * history["loss"][0]
    assert [step for step, _ in history["validation"]] == [20, 40, 60]
    assert history["settings"]["embed"] == 16 and history["seconds"] > 0
    assert (out / "losses.png").read_bytes().startswith(b"\x89PNG")
    written = (out / "sample.txt").read_text()
    assert written.startswith("the ") and len(written) == 4 + 40 and set(written) <= set(TEXT)
    printed = capsys.readouterr().out
    assert written in printed and "best validation loss" in printed
    assert f"{len(TEXT):,} characters, {len(set(TEXT))} different ones" in printed


def test_a_resumed_run_is_the_run_that_was_not_interrupted(
        example: ModuleType, monkeypatch: pytest.MonkeyPatch, text: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    command(example, monkeypatch, "--text", text, "--out", whole, "--steps", 30)
    command(example, monkeypatch, "--text", text, "--out", parts, "--steps", 20)
    command(example, monkeypatch, "--text", text, "--out", parts, "--steps", 30, "--resume")
    ends = [lf.Checkpointer(folder / "checkpoints").restore().tree for folder in (whole, parts)]
    for a, b in zip(*[lf.tree.leaves(end["state"]) for end in ends], strict=True):
        np.testing.assert_array_equal(a, b)
    histories = [json.loads((folder / "history.json").read_text()) for folder in (whole, parts)]
    assert histories[0]["loss"] == histories[1]["loss"]
    assert (whole / "sample.txt").read_text() == (parts / "sample.txt").read_text()


def test_bytes_take_any_prompt(example: ModuleType, monkeypatch: pytest.MonkeyPatch, text: Path,
                               tmp_path: Path) -> None:
    command(example, monkeypatch, "--text", text, "--out", tmp_path / "out", "--steps", 2,
            "--tokens", "bytes", "--prompt", "né", "--length", 5)
    assert (tmp_path / "out" / "sample.txt").read_text().startswith("né")


# ------------------------------------------------------------------ sampling

@pytest.fixture(scope="module")
def model() -> Any:
    model = models.GPT(5, 8, 8, 2, 1)
    return model, model.init(random.key(0))[0]


def test_sampling_is_generating(example: ModuleType, model: Any) -> None:
    drawn = list(example.sample(*model, random.key(1), [1, 2], 6, 0.9))
    wanted = models.generate(*model, random.key(1), [1, 2], 6, temperature=0.9)
    assert drawn == wanted[2:].tolist()


def test_sampling_goes_on_beyond_the_context(example: ModuleType, model: Any) -> None:
    prompt = [1, 2, 3, 4] * 3  # longer than the context, of which the last part counts
    drawn = list(example.sample(*model, random.key(1), prompt, 30, 1.0))
    assert len(drawn) == 30
    assert drawn == list(example.sample(*model, random.key(1), prompt[-8:], 30, 1.0))
    # Where a new cache begins, it has read the half of the context that was there before.
    likeliest = lambda seen, i: int(models.generate(
        *model, None, seen, 1, temperature=0)[-1])
    sure = list(example.sample(*model, random.key(1), prompt[-8:], 2, 1e-6))
    assert sure[1] == likeliest([*prompt, sure[0]][-4:], 1)


def test_pieces_of_text_are_whole_characters(example: ModuleType) -> None:
    tokens = data.ByteTokenizer().encode("né€")
    assert list(example.pieces(data.ByteTokenizer(), tokens)) == ["n", "", "é", "", "", "€", ""]
    cut = example.pieces(data.ByteTokenizer(), tokens[:-1])
    assert "".join(cut) == "né\N{REPLACEMENT CHARACTER}"
    letters = data.CharTokenizer("ab")
    assert list(example.pieces(letters, [1, 0])) == ["b", "a"]


def test_the_default_text_is_the_source(example: ModuleType) -> None:
    source = example.read_text(None)
    assert "class CharTokenizer" in source and len(source) > 100_000


# ------------------------------------------------------------------ messages

@pytest.mark.parametrize(("content", "arguments", "message"), [
    (None, [], "cannot be read: No such file"),
    (b"", [], "is empty"),
    (b"too short for a window", [], "22 tokens, and a context of 16 needs 34"),
    (b"caf\xe9 " * 100, [], "not UTF-8 (the byte at 3 is 0xe9)"),
    (TEXT.encode(), ["--prompt", "Zoë"], "--prompt has 'Z', 'ë', which the text never has"),
    (TEXT.encode(), ["--prompt", ""], "--prompt is empty"),
    (TEXT.encode(), ["--heads", "3"], "heads"),
    (TEXT.encode(), ["--dropout", "1.5"], "1.5"),
    (TEXT.encode(), ["--resume"], "no checkpoints to resume from"),
    (TEXT.encode(), ["--device", "tpu"], "there is no device 'tpu' here"),
    (TEXT.encode(), ["--steps", "0"], "expected a number above 0"),
])
def test_what_cannot_be_done_is_said(
        example: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None,
        arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit) as stopped:
        command(example, monkeypatch, "--text", path, "--out", tmp_path / "out", *arguments)
    assert message in f"{stopped.value}{capsys.readouterr().err}"
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_a_folder_has_one_run(example: ModuleType, monkeypatch: pytest.MonkeyPatch, text: Path,
                              tmp_path: Path) -> None:
    begin = ["--text", text, "--out", tmp_path / "out", "--steps"]
    command(example, monkeypatch, *begin, 3)
    for arguments, message in (
        ([4], "has a run of 3 steps; --resume continues it"),
        ([4, "--resume", "--embed", "32"], "has embed = 16, got 32"),
        ([2, "--resume"], "has 3 steps, more than --steps 2"),
    ):
        with pytest.raises(SystemExit, match=message):
            command(example, monkeypatch, *begin, *arguments)
