"""Tokenizers give back what they were given, and windows are pieces of the text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lucidfn.numpy as lnp
from lucidfn import data, random

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXT)
def test_bytes_round_trip(text: str) -> None:
    tokenizer = data.ByteTokenizer()
    tokens = tokenizer.encode(text)
    assert tokens.dtype == np.int32 and tokens.tolist() == list(text.encode())
    assert tokenizer.decode(tokens) == tokenizer.decode(tokens, errors="strict") == text


@given(TEXT, TEXT)
def test_characters_round_trip(text: str, more: str) -> None:
    tokenizer = data.CharTokenizer.from_text(text + more)
    tokens = tokenizer.encode(text)
    assert tokens.dtype == np.int32 and tokens.shape == (len(text),)
    assert tokenizer.decode(tokens) == tokenizer.decode(lnp.asarray(tokens)) == text
    assert tokenizer.vocab_size == len(set(text + more))
    assert data.CharTokenizer(tokenizer.alphabet) == tokenizer


def test_an_alphabet_keeps_its_order() -> None:
    tokenizer = data.CharTokenizer("zaß😀")
    assert tokenizer.encode("az😀ß").tolist() == [1, 0, 3, 2]


@pytest.mark.parametrize(("alphabet", "text", "message"), [
    ("abc", "abxba", "'x' at 2 is not in the alphabet of 3 characters .1 of 5"),
    ("abc", "~", "ByteTokenizer"), ("bc", "a", "'a' at 0"), ("", "a", "empty"),
])
def test_unknown_characters(alphabet: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data.CharTokenizer(alphabet).encode(text)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: data.CharTokenizer("aba"), ValueError, "'a' twice"),
    (lambda: data.CharTokenizer.from_text(b"ab"), TypeError, "bytes.decode"),
    (lambda: data.CharTokenizer("ab").encode(3), TypeError, "expected a str, got int"),
    (lambda: data.CharTokenizer("ab").decode([0, 2]), ValueError, "the token 2 at 1"),
    (lambda: data.CharTokenizer("ab").decode([-1]), ValueError, "from 0 to 1"),
    (lambda: data.CharTokenizer("ab").decode([0.5]), TypeError, "integer tokens"),
    (lambda: data.CharTokenizer("ab").decode([[0]]), TypeError, "one row"),
    (lambda: data.ByteTokenizer().decode([256]), ValueError, "from 0 to 255"),
    (lambda: data.ByteTokenizer().decode([255], errors="strict"), ValueError, "utf-8"),
    (lambda: data.ByteTokenizer().encode("a\ud800"), ValueError, "surrogate"),
])
def test_what_is_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_bytes_that_are_no_text() -> None:
    assert data.ByteTokenizer().decode([104, 255, 105]) == "h\ufffdi"
    assert data.ByteTokenizer().decode([]) == data.CharTokenizer("").decode([]) == ""


@given(n=st.integers(2, 40), size=st.integers(1, 5), cut=st.integers(0, 100))
def test_windows(n: int, size: int, cut: int) -> None:
    length = 1 + cut % (n - 1)
    tokens = np.arange(n, dtype="int32")
    x, y = data.random_windows(random.key(n), tokens, size, length)
    assert x.shape == y.shape == (size, length) and x.dtype == np.int32
    assert (y == x + 1).all() and (np.diff(x) == 1).all() and y.max() < n
    again, _ = data.random_windows(random.key(n), lnp.asarray(tokens), size, length)
    assert (again == x).all()


def test_windows_reach_both_ends() -> None:
    x, y = data.random_windows(random.key(0), np.arange(6), 200, 3)
    assert set(x[:, 0].tolist()) == {0, 1, 2} and y.max() == 5


@pytest.mark.parametrize(("tokens", "size", "length", "error", "message"), [
    (np.arange(5), 2, 5, ValueError, "need 6"), (np.arange(0), 2, 1, ValueError, "got 0 tokens"),
    (np.arange(5), 0, 2, ValueError, "at least 1"), (np.arange(5), 2, 0, ValueError, "at least 1"),
    ("a text", 2, 3, TypeError, r"tokenizer.encode\(text\)"),
    (np.zeros((2, 9)), 2, 3, TypeError, "array of tokens"),
])
def test_windows_that_do_not_fit(tokens: Any, size: int, length: int, error: type[Exception],
                                 message: str) -> None:
    with pytest.raises(error, match=message):
        data.random_windows(random.key(0), tokens, size, length)
