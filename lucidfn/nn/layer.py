"""`Layer` and `Composite`: what every layer is.

A layer is a frozen description. It holds hyperparameters and no arrays, prints itself, compares by
value, and is hashable. Its parameters and its state are dicts that `init` makes and `apply` takes:

    layer = nn.Linear(256, 120)
    params, state = layer.init(random.key(0))
    y, state = layer.apply(params, state, x, train=True, key=key)

Subclasses need no decorator: annotated class attributes are the arguments of the constructor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import MISSING, dataclass, fields
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, dataclass_transform

import numpy as np

from lucidfn import random
from lucidfn.api.inspect import eval_shape
from lucidfn.array import Array, typeof, unwrap
from lucidfn.core.trace import home, placed
from lucidfn.nn import calls
from lucidfn.tree import explain_mismatch
from lucidfn.tree import map as map_tree

Params = dict[str, Any]
State = dict[str, Any]


class LayerError(ValueError):
    """A layer got what it cannot use. Composite layers add the path of the layer to the message."""

    def __init__(self, layer: Layer, message: str):
        super().__init__(message)
        self.layer, self.message, self.path = layer, message, ""

    def within(self, name: str) -> LayerError:
        """The same error, seen from the layer that holds this one as its child `name`."""
        self.path = f"{name}/{self.path}" if self.path else name
        return self

    def __str__(self) -> str:
        at = f" at {self.path!r}" if self.path else ""
        return f"{self.layer.headline()}{at} {self.message}"


def with_key(tree: Any, key: Any) -> Any:
    """What a layer starts from, on the device of its random key."""
    found = home(unwrap(key))
    return tree if found is None else map_tree(
        lambda x: Array(placed(x.value, found), x.weak) if type(x) is Array else x, tree)


@dataclass_transform(frozen_default=True)
class Layer:
    """Base of all layers: override `forward(params, *inputs)`, and `init_params(key)` for its own.

    A layer that needs to know whether it trains, draws random numbers or keeps state overrides
    `apply` instead (and `init_state`).

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import nn, random
    >>> class Scale(nn.Layer):
    ...     features: int
    ...     def init_params(self, key):
    ...         return {"weight": lnp.ones(self.features)}
    ...     def forward(self, params, x):
    ...         return x * params["weight"]
    >>> scale = Scale(3)
    >>> params, state = scale.init(random.key(0))
    >>> scale, scale(params, lnp.arange(3.0)).tolist()
    (Scale(3), [0.0, 1.0, 2.0])
    """

    layout = ""  # of the data it takes, such as "N H W C"; printed by `summary` and in errors

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        calls.check_class(cls, Layer)
        dataclass(frozen=True, repr=False)(cls)
        if "__init__" in cls.__dict__:
            cls.__init__ = calls.hinted(cls.__init__)  # type: ignore[method-assign]
        cls.__setattr__ = cls.__delattr__ = calls.refuse_assignment  # type: ignore
        if "apply" in cls.__dict__:  # so that errors say how to call it
            cls.apply = calls.checked_apply(cls.apply)  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, (list, np.generic)):  # so that it is hashable, and prints well
                value = tuple(value) if isinstance(value, list) else value.item()
                self.set(field.name, value)
            try:
                hash(value)
            except TypeError:
                raise TypeError(
                    f"{type(self).__name__} got {field.name}={value!r}: a layer is hashable and "
                    "holds hyperparameters only; arrays belong to what init_params and init_state "
                    "return, collections are tuples") from None

    def set(self, name: str, value: Any) -> None:
        """Write a field; for `__post_init__` only, where hyperparameters take their final form."""
        object.__setattr__(self, name, value)

    # ------------------------------------------------------------------ what subclasses give

    def init_params(self, key: Any) -> Params:
        """The layer's own parameters at the start of training."""
        return {}

    def init_state(self) -> State:
        """The layer's own state at the start of training."""
        return {}

    def forward(self, params: Params, *inputs: Any, **kwargs: Any) -> Any:
        """The outputs, for a layer without state and randomness."""
        raise NotImplementedError(
            f"{type(self).__name__} needs a method forward(self, params, x), or one apply(self, "
            "params, state, x, *, train=False, key=None) that returns (outputs, state)")

    # ------------------------------------------------------------------ what users call

    @calls.checked_init
    def init(self, key: Any) -> tuple[Params, State]:
        """(parameters, state) from a random key."""
        return with_key(self.init_params(key), key), with_key(self.init_state(), key)

    @calls.checked_apply
    def apply(self, params: Params, state: State, *inputs: Any, train: bool = False,
              key: Any = None, **kwargs: Any) -> tuple[Any, State]:
        """(outputs, new state). `key` feeds layers such as Dropout, in training only."""
        return self.forward(params, *inputs, **kwargs), state

    def __call__(self, params: Params, *inputs: Any, **kwargs: Any) -> Any:
        """The outputs alone, for a layer without state and randomness."""
        if type(params) is not dict:
            calls.check_called(self, params)
        if self.stateful or self.stochastic:
            what = "keeps state" if self.stateful else "draws random numbers in training"
            raise self.error(f"{what}: call it as outputs, state = layer.apply(params, state, "
                             f"x, train=...{', key=key' if self.stochastic else ''})")
        return self.apply(params, {}, *inputs, **kwargs)[0]

    if not TYPE_CHECKING:
        def __getattr__(self, name: str) -> Any:
            return calls.missing(self, name)

    @cached_property
    def stateful(self) -> bool:
        """Whether it has state, such as running statistics."""
        return bool(self.init_state())

    @property
    def stochastic(self) -> bool:
        """Whether it may need a random key in training."""
        return type(self).apply is not Layer.apply

    # ------------------------------------------------------------------ errors

    def error(self, message: str) -> LayerError:
        """An error that names this layer and says what it got and expected."""
        return LayerError(self, message)

    def expect(self, x: Any, layout: str, channels: int | None = None) -> None:
        """Raise unless x has the axes of the layout ("N H W C"; "... C": any number before C) and
        that many channels on the last."""
        if isinstance(x, tuple) and any(hasattr(v, "shape") for v in x):
            raise self.error(f"got a tuple of {len(x)}, expected one array. Some layers, such as "
                             "LSTM, return (outputs, state): in a Composite, y, _ = run.name(x)")
        shape, names = typeof(x).shape, layout.split()
        free = names[0] == "..."
        fits = len(shape) >= len(names) - 1 if free else len(shape) == len(names)
        shown = f"[{', '.join(names)}]"
        if not fits:
            raise self.error(f"got x {typeof(x)}, expected data {shown}"
                             + (f" with C = {channels}" if channels is not None else ""))
        if channels is not None and shape[-1] != channels:
            hint = ""
            first = 1 if names[0] in ("N", "...") else 0
            if len(shape) > 2 and shape[first] == channels:
                hint = (f"; it looks channels-first: lnp.moveaxis(x, {first}, -1) makes it "
                        "channels-last")
            raise self.error(f"got x {typeof(x)} with {shape[-1]} channels on the last axis, "
                             f"expected {channels}: data is {shown}{hint}")

    def need_key(self, key: Any) -> Any:
        """The key; LayerError where there is none."""
        if key is None:
            raise self.error("needs a random key in training: apply(params, state, x, "
                             "train=True, key=key); with train=False it is deterministic")
        return key

    def need_state(self, state: State, name: str) -> Any:
        """An entry of the state; LayerError where it is missing."""
        if name not in (state or {}):
            raise self.error(f"keeps {name!r} in its state, got a state with "
                             f"{sorted(state or {})}: params, state = model.init(key); then pass "
                             "the state that the last apply returned")
        return state[name]

    def check_params(self, params: Params, cause: Exception | None = None) -> None:
        """LayerError unless the parameters have the structure that `init` gives them."""
        # init_params alone, on a key that is never drawn from: this must not cost anything.
        wanted = eval_shape(lambda: self.init(random.key(0))[0])
        found = explain_mismatch(wanted, params, ("init", "params"))
        if found:
            raise self.error("got parameters of another structure than its init makes:\n"
                             f"{found}") from cause

    # ------------------------------------------------------------------ printing

    def arguments(self) -> Iterator[str]:
        """The constructor's arguments as text: required ones by position, others if changed."""
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if holds_layers(value):  # printed as children
                continue
            required = field.default is MISSING and field.default_factory is MISSING
            if required and not field.kw_only:
                yield show(value)
            elif required or not same(value, field.default):
                yield f"{field.name}={show(value)}"

    def headline(self) -> str:
        """The layer in one line."""
        return f"{type(self).__name__}({', '.join(self.arguments())})"

    def __repr__(self) -> str:
        return self.headline()


def holds_layers(value: Any) -> bool:
    return isinstance(value, Layer) or (
        isinstance(value, tuple) and any(isinstance(v, Layer) for v in value))


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b


def show(value: Any) -> str:
    """A hyperparameter as a user would write it: a function by its name."""
    if isinstance(value, tuple) and any(callable(v) for v in value):
        return f"({', '.join(map(show, value))})"
    if isinstance(value, Lambda):
        return show(value.function)
    if callable(value) and not isinstance(value, Layer):
        return getattr(value, "__name__", None) or repr(value)
    return repr(value)


class Lambda(Layer):
    """A function of arrays as a layer; layers that hold layers wrap plain functions by themselves.

    >>> from lucidfn import nn
    >>> nn.Sequential(nn.Linear(2, 3), nn.tanh)[1]
    Lambda(tanh)
    """

    function: Callable[..., Any]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"a layer or a function of arrays was expected, got "
                            f"{self.function!r}")

    def forward(self, params: Params, *inputs: Any, **kwargs: Any) -> Any:
        return self.function(*inputs, **kwargs)


def as_layer(value: Any) -> Layer:
    """A layer as it is; a function of arrays as a `Lambda`."""
    if isinstance(value, type) and issubclass(value, Layer):
        raise TypeError(f"got the class {value.__name__}, expected a layer: {value.__name__}(...)")
    return value if isinstance(value, Layer) else Lambda(value)


# ------------------------------------------------------------------ layers of layers

class Called:
    """What a watcher sees of one call of a child: before it and, with outputs, after."""

    __slots__ = ("layer", "name", "params", "state", "inputs", "kwargs", "train", "outputs")

    def __init__(self, layer: Layer, name: str, params: Params, state: State,
                 inputs: tuple[Any, ...], kwargs: dict[str, Any], train: bool):
        self.layer, self.name, self.params, self.state = layer, name, params, state
        self.inputs, self.kwargs, self.train = inputs, kwargs, train
        self.outputs: Any = None


Watcher = Callable[[Called, bool], None]  # (call, whether it has returned)
_watcher: ContextVar[Watcher | None] = ContextVar("lucidfn_layer_watcher", default=None)


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Tell `watcher` of every call of a child layer within the block."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


class Run:
    """One call of a composite layer: its children as functions, bound to parameters and state.

    `run.conv(x)` or `run["conv"](x)` calls the child of that name. `params` are those of the
    composite, `train` says whether it trains, `key(name)` is a random key of that name. A child
    that is called twice shares its parameters, sees the state the first call left, and draws other
    random numbers.
    """

    __slots__ = ("layer", "params", "state", "train", "_key", "_calls")

    def __init__(self, layer: Composite, params: Params, state: State, train: bool, key: Any):
        self.layer, self.params, self.train = layer, params, train
        self.state = dict(state or {})
        self._key = key
        self._calls: dict[str, int] = {}

    def __getitem__(self, name: str) -> Callable[..., Any]:
        child = self.layer.named_children.get(name)
        if child is None:
            raise KeyError(f"{type(self.layer).__name__} has no child {name!r}; it has "
                           f"{list(self.layer.named_children)}")
        return lambda *inputs, **kwargs: self._call(name, child, inputs, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in self.layer.named_children:
            return self[name]
        value = getattr(self.layer, name, None)
        if isinstance(value, tuple) and holds_layers(value):
            return [self[f"{name}_{i}"] for i in range(len(value))]
        if callable(value) and name in self.layer.__dict__:  # a function as a hyperparameter
            return value
        raise AttributeError(f"{type(self.layer).__name__} has no child {name!r}; it has "
                             f"{list(self.layer.named_children)}")

    def key(self, name: str) -> Any:
        """A random key of that name; without one LayerError in training, else None."""
        key = self.layer.need_key(self._key) if self.train else self._key
        return None if key is None else random.fold_in(key() if callable(key) else key, name)

    def _call(self, name: str, child: Layer, inputs: tuple[Any, ...],
              kwargs: dict[str, Any]) -> Any:
        count = self._calls[name] = self._calls.get(name, 0) + 1
        key, named = None, name if count == 1 else f"{name}#{count}"
        if child.stochastic:
            key = None if self._key is None else self.key(named)
        elif type(child).apply is Composite.apply and self._key is not None:
            key = partial(self.key, named)  # made if its forward asks for it
        params, state = self.params.get(name, {}), self.state.get(name, {})
        watcher = _watcher.get()
        if watcher is not None:
            call = Called(child, name, params, state, inputs, kwargs, self.train)
            watcher(call, False)
        try:
            out, new = child.apply(params, state, *inputs, train=self.train, key=key, **kwargs)
        except LayerError as e:
            raise e.within(name) from e.__cause__
        except Exception as e:
            if not isinstance(child, Composite):  # one note, for the innermost layer
                e.add_note(f"in layer {name!r} of {type(self.layer).__name__}: {child.headline()}"
                           + calls.noted(inputs))
            raise
        if watcher is not None:
            call.outputs = out
            watcher(call, True)
        if new:
            self.state[name] = new
        return out


_RESERVED = frozenset(name for name in dir(Run) if not name.startswith("__"))


class Composite(Layer):
    """Base of layers made of layers: name the children, and say in `forward` how data flows.

    The children are the fields that hold layers (a tuple of layers gives `name_0`, `name_1`, ...),
    or what `children` returns. Parameters and state are dicts by child name; each child gets its
    own random key. Parameters of its own go into `init_params`.

    >>> from lucidfn import nn, random
    >>> class Block(nn.Composite):
    ...     channels: int
    ...     def children(self):
    ...         return {"conv": nn.Conv2d(self.channels, self.channels, 3, padding=1),
    ...                 "norm": nn.BatchNorm2d(self.channels)}
    ...     def forward(self, run, x):
    ...         return nn.relu(run.norm(run.conv(x)) + x)
    >>> params, state = Block(8).init(random.key(0))
    >>> sorted(params), sorted(params["conv"])
    (['conv', 'norm'], ['bias', 'weight'])
    """

    def children(self) -> Mapping[str, Layer | Callable[..., Any]]:
        """Child layers by name, in the order of their use."""
        found: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Layer):
                found[field.name] = value
            elif holds_layers(value):
                found.update({f"{field.name}_{i}": v for i, v in enumerate(value)})
        return found

    @cached_property
    def named_children(self) -> dict[str, Layer]:
        """The children, checked, with plain functions as layers."""
        out, given = {}, self.children()
        if not isinstance(given, Mapping):
            raise TypeError(f"{type(self).__name__}.children() gave a {type(given).__name__}, "
                            "expected a dict of layers by name")
        for name, child in given.items():
            if not isinstance(name, str) or name in _RESERVED or "/" in name:
                raise ValueError(f"{type(self).__name__} cannot name a child {name!r}; names are "
                                 f"strings without '/' other than {sorted(_RESERVED)}")
            try:
                out[name] = as_layer(child)
            except TypeError as e:
                raise TypeError(f"child {name!r} of {type(self).__name__}: {e}") from None
        return out

    @cached_property
    def stateful(self) -> bool:
        return bool(self.init_state()) or any(c.stateful for c in self.named_children.values())

    @cached_property
    def stochastic(self) -> bool:
        return (type(self).apply is not Composite.apply
                or any(c.stochastic for c in self.named_children.values()))

    @calls.checked_init
    def init(self, key: Any) -> tuple[Params, State]:
        """(parameters, state), by child name; each child's key is named after it."""
        params = with_key(dict(self.init_params(key)), key)
        state = with_key(dict(self.init_state()), key)
        for name, child in self.named_children.items():
            if name in params or name in state:
                raise ValueError(f"{type(self).__name__} has a child and a parameter {name!r}")
            child_params, child_state = child.init(random.fold_in(key, name))
            if child_params:
                params[name] = child_params
            if child_state:
                state[name] = child_state
        return params, state

    def forward(self, run: Run, *inputs: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """The outputs, by calling children as `run.name(x)`."""
        raise NotImplementedError(f"{type(self).__name__} needs a method forward(self, run, x)")

    def apply(self, params: Params, state: State, *inputs: Any, train: bool = False,
              key: Any = None, **kwargs: Any) -> tuple[Any, State]:
        """(outputs, new state)."""
        run = Run(self, params, state, train, key)
        return self.forward(run, *inputs, **kwargs), run.state

    def headline(self) -> str:
        own = ", ".join(self.arguments())
        return f"{type(self).__name__}({own if len(own) < 60 else '...'})"

    def __repr__(self) -> str:
        children = [f"  {name}: {indented(child)}" for name, child in self.named_children.items()]
        own = [text for text in self.arguments()]
        return "\n".join([f"{type(self).__name__}({', '.join(own)})", *children])


def indented(layer: Layer) -> str:
    """The text of a child, for a line of its parent."""
    text = show(layer.function) if isinstance(layer, Lambda) else repr(layer)
    return text.replace("\n", "\n  ")


__all__ = ["Called", "Composite", "Lambda", "Layer", "LayerError", "Params", "Run", "State",
           "as_layer", "show", "watching"]
