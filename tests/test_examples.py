"""The examples do what they promise."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_digits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from examples import digits

    histories = []
    train = digits.train

    def watched(*args):
        params, history = train(*args)
        histories.append(history)
        return params, history

    figure = tmp_path / "figures" / "digits.png"
    monkeypatch.setattr(digits, "train", watched)
    monkeypatch.setattr(sys, "argv", ["digits", "--figure", str(figure)])
    digits.main()

    (history,) = histories
    assert history["test"][-1] >= 0.97
    assert history["loss"][-1] < history["loss"][0] / 10
    printed = capsys.readouterr().out
    assert "Linear(64, 512)" in printed and "dot_general" in printed
    assert "test accuracy 0.9" in printed
    assert figure.read_bytes().startswith(b"\x89PNG")
