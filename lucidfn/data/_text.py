"""Text as arrays of integers: tokenizers of bytes and characters, windows for language models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lucidfn import random
from lucidfn.array import Array


@dataclass(frozen=True)
class ByteTokenizer:
    """Text as its UTF-8 bytes: 256 tokens, any text.

    >>> ByteTokenizer().encode("né").tolist()
    [110, 195, 169]
    >>> ByteTokenizer().decode([110, 195, 169])
    'né'
    """

    vocab_size = 256

    def encode(self, text: str) -> np.ndarray:
        """The tokens, int32 [N]; ValueError for half of a surrogate pair, which UTF-8 lacks."""
        _check_text(text)
        try:
            return np.frombuffer(text.encode("utf-8"), "u1").astype("int32")
        except UnicodeEncodeError as error:
            raise ValueError(f"the character {text[error.start]!r} at {error.start} is half of a "
                             "surrogate pair and has no UTF-8 form") from None

    def decode(self, tokens: Any, errors: str = "replace") -> str:
        """The text. Bytes that are no UTF-8, as a model may give, become U+FFFD, or raise
        ValueError with errors="strict"."""
        ids = _tokens(tokens, self.vocab_size)
        return ids.astype("u1").tobytes().decode("utf-8", errors)


@dataclass(frozen=True)
class CharTokenizer:
    """Text as the places of its characters in an alphabet.

    >>> tokenizer = CharTokenizer.from_text("hello")
    >>> tokenizer
    CharTokenizer(alphabet='ehlo')
    >>> tokenizer.encode("hole").tolist()
    [1, 3, 2, 0]
    >>> tokenizer.decode([1, 0, 2, 2, 3])
    'hello'
    """

    alphabet: str

    def __post_init__(self) -> None:
        _check_text(self.alphabet)
        if len(set(self.alphabet)) != len(self.alphabet):
            twice = next(c for i, c in enumerate(self.alphabet) if c in self.alphabet[:i])
            raise ValueError(f"the alphabet has {twice!r} twice; CharTokenizer.from_text(text) "
                             "collects the characters of a text")

    @classmethod
    def from_text(cls, text: str) -> CharTokenizer:
        """The tokenizer of the characters that a text has, in the order of their code points."""
        _check_text(text)
        return cls("".join(sorted(set(text))))

    @property
    def vocab_size(self) -> int:
        return len(self.alphabet)

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Code points in order, and the place of each in the alphabet."""
        points = _code_points(self.alphabet)
        order = np.argsort(points, kind="stable")
        return points[order], order.astype("int32")

    def encode(self, text: str) -> np.ndarray:
        """The tokens, int32 [N]; ValueError for a character that is not in the alphabet."""
        _check_text(text)
        wanted = _code_points(text)
        points, order = self._sorted
        if not len(points):
            if text:
                raise ValueError("the alphabet is empty")
            return np.zeros(0, "int32")
        place = np.minimum(np.searchsorted(points, wanted), len(points) - 1)
        unknown = np.flatnonzero(points[place] != wanted)
        if len(unknown):
            at = int(unknown[0])
            raise ValueError(
                f"the character {text[at]!r} at {at} is not in the alphabet of {self.vocab_size} "
                f"characters ({len(unknown)} of {len(text)} characters are not); make the "
                "tokenizer from all of the text, or use ByteTokenizer, which knows any")
        return order[place]

    def decode(self, tokens: Any) -> str:
        """The text; ValueError for tokens outside the alphabet."""
        ids = _tokens(tokens, self.vocab_size)
        return "".join([self.alphabet[i] for i in ids.tolist()])


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _check_text(text: Any) -> None:
    if not isinstance(text, str):
        hint = "; bytes.decode makes one of bytes" if isinstance(text, bytes) else ""
        raise TypeError(f"expected a str, got {type(text).__name__}{hint}")


def _tokens(tokens: Any, size: int) -> np.ndarray:
    ids = np.asarray(tokens)
    if ids.size == 0:
        return np.zeros(0, "int64")
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise TypeError(f"decode takes one row of integer tokens, got {ids.dtype}"
                        f"{list(ids.shape)}")
    outside = np.flatnonzero((ids < 0) | (ids >= size))
    if len(outside):
        at = int(outside[0])
        raise ValueError(f"the token {ids[at]} at {at} is not in the range from 0 to {size - 1}")
    return ids


def random_windows(key: Any, tokens: Any, size: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """`size` windows of `length` tokens from random places, and the tokens that follow each one.

    Returns inputs and targets, both [size, length] of the dtype of `tokens` [N]; targets[:, i] is
    the token after inputs[:, i]. A pure function of the key; tokens may be a mapped file. Raises
    ValueError where the text is shorter than length + 1.

    >>> import numpy as np
    >>> from lucidfn import random
    >>> x, y = random_windows(random.key(0), np.arange(100), size=4, length=8)
    >>> x.shape, bool((y == x + 1).all())
    ((4, 8), True)
    """
    tokens = np.asarray(tokens) if isinstance(tokens, Array) else tokens
    if not isinstance(tokens, np.ndarray) or tokens.ndim != 1:
        raise TypeError(f"random_windows got {type(tokens).__name__}, expected an array of tokens "
                        "[N], such as tokenizer.encode(text) gives")
    if size < 1 or length < 1:
        raise ValueError(f"random_windows got size={size} and length={length}, expected at least 1")
    places = len(tokens) - length
    if places < 1:
        raise ValueError(f"random_windows got {len(tokens)} tokens and length={length}; a window "
                         f"and the token after it need {length + 1}")
    starts = np.asarray(random.randint(key, (size, 1), 0, places))
    windows = np.asarray(tokens[starts + np.arange(length + 1)])
    return windows[:, :-1].copy(), windows[:, 1:].copy()
