"""The exceptions of the library, under the names users of JAX catch."""

from __future__ import annotations


class LucidError(Exception):
    """Base of the errors that have no built-in counterpart."""


class ConcretizationTypeError(TypeError):
    """A value was needed where only a type is known: under jit, or for one lane under vmap."""


class TracerBoolConversionError(ConcretizationTypeError):
    """A traced value was used as a Python bool."""


class TracerIntegerConversionError(ConcretizationTypeError):
    """A traced value was used as a Python integer: as a shape, or an index of a list."""


class TracerArrayConversionError(ConcretizationTypeError):
    """A traced value was handed to code that needs a NumPy array."""


class NonConcreteBooleanIndexError(IndexError):
    """A traced boolean mask was used as an index: the size of the result is not known."""


class UnexpectedTracerError(LucidError):
    """A tracer was used after the transformation that made it had finished."""


class KeyReuseError(LucidError):
    """One random key was consumed twice."""


class DonatedArrayError(RuntimeError):
    """An array was used after its memory had been donated to a jitted call."""


class ShapeError(TypeError):
    """Operands whose shapes do not fit; a TypeError, as in JAX."""


class FloatingPointNaNError(FloatingPointError):
    """`debug_nans` found the first equation that produced a NaN."""


class CorruptFileError(ValueError):
    """A file is damaged, truncated, or not of the format it should be."""


class MissingRuleError(NotImplementedError):
    """A primitive lacks the rule that a transformation needs."""


__all__ = ["ConcretizationTypeError", "CorruptFileError", "DonatedArrayError",
           "FloatingPointNaNError", "KeyReuseError", "LucidError", "MissingRuleError",
           "NonConcreteBooleanIndexError", "ShapeError", "TracerArrayConversionError",
           "TracerBoolConversionError", "TracerIntegerConversionError", "UnexpectedTracerError"]
