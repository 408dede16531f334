"""What to say when a layer is called in another way than it takes.

The checks cost nothing where a call is right: two comparisons before it, and the rest only after
it has failed.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError
from functools import wraps
from typing import Any

from lucidfn import random
from lucidfn.api.inspect import eval_shape
from lucidfn.array import typeof, unwrap
from lucidfn.core.trace import Tracer

AnyFunction = Callable[..., Any]
FIRST = ("run", "params", "p", "_")  # names of the first argument of forward
KEYWORDS = ("params", "state", "train", "key")

MAKE = "params, state = model.init(random.key(0))"
APPLY = "outputs, state = model.apply(params, state, x)"
# What users of other libraries look for on a model, and where it is here.
ELSEWHERE = {
    **dict.fromkeys(("parameters", "named_parameters", "state_dict", "load_state_dict", "weight",
                     "bias", "params", "variables"),
                    f"a layer holds no arrays: {MAKE} makes them"),
    **dict.fromkeys(("train", "eval", "training"),
                    "training is an argument: model.apply(params, state, x, train=True, key=key)"),
    **dict.fromkeys(("to", "cuda", "cpu", "half", "float", "double", "bfloat16"),
                    "parameters are arrays of yours: tree.map(lambda p: p.astype(dtype), params)"),
    **dict.fromkeys(("zero_grad", "requires_grad_", "backward"),
                    "gradients are what lf.grad(loss)(params, ...) returns"),
    **dict.fromkeys(("bind", "init_with_output", "tabulate"),
                    "here are model.init(key), model.apply(params, state, x) and nn.summary"),
}
# Options of other libraries that layers do not take.
OPTIONS = {
    "dim": "it is axis here", "start_dim": "it is start_axis here",
    "end_dim": "it is end_axis here", "features": "it is the second argument, out_features",
    "use_bias": "it is bias here", "kernel_init": "it is weight_init here",
    "rate": "it is p here", "use_running_average": "train=... of model.apply is its contrary",
    "rngs": f"the key goes into init: {MAKE}",
    "inplace": "arrays are immutable, layers always return new ones",
    **dict.fromkeys(("dtype", "device", "param_dtype"),
                    "parameters are arrays of yours: tree.map(lambda p: p.astype(dtype), params)"),
}
# What users of other libraries look for in the package.
RENAMED = {
    "Module": "a layer made of layers derives from nn.Composite, one with parameters of its own "
              "from nn.Layer",
    **dict.fromkeys(("Parameter", "ParameterList", "Buffer", "param"),
                    "parameters are what init_params(self, key) returns, state what "
                    "init_state(self) returns"),
    **dict.fromkeys(("ModuleList", "ModuleDict"),
                    "children of nn.Composite are fields with a layer or a tuple of layers, or "
                    "the dict that children(self) returns"),
    **dict.fromkeys(("compact", "nowrap", "setup"),
                    "children of nn.Composite are named by children(self), and forward(self, run, "
                    "x) calls them as run.name(x)"),
    **{old: f"it is nn.{new} here" for old, new in (
        ("Dense", "Linear"), ("Conv", "Conv2d"), ("ConvTranspose", "ConvTranspose2d"),
        ("Embed", "Embedding"), ("BatchNorm", "BatchNorm2d"), ("init", "initializers"),
        ("MultiHeadDotProductAttention", "MultiheadAttention"), ("LSTMLayer", "LSTM"))},
    **dict.fromkeys(("avg_pool", "max_pool", "interpolate", "linear", "conv2d", "cross_entropy"),
                    "functions of arrays are in nn.functional"),
}


def missing(layer: Any, name: str) -> Any:
    """Raise for an attribute that a layer does not have."""
    if hasattr(type(layer), name):  # a property of that name raised: the same error again
        return object.__getattribute__(layer, name)
    hint = f"; {ELSEWHERE[name]}" if name in ELSEWHERE else ""
    raise AttributeError(f"{type(layer).__name__!r} object has no attribute {name!r}{hint}",
                         name=name, obj=layer)


def refuse_assignment(layer: Any, name: str, value: Any = None) -> None:
    """What a layer does where somebody sets or deletes an attribute."""
    me = type(layer).__name__
    raise FrozenInstanceError(
        f"cannot set {name!r}: layers are frozen. Arguments of {me} are declared as {name}: type "
        f"in the class; children go into def children(self): return {{{name!r}: ...}}; a copy "
        f"with other values is dataclasses.replace(layer, {name}=...). In __post_init__ there is "
        f"self.set({name!r}, value)")


def unknown(module: str, name: str) -> AttributeError:
    """The error for a name that other libraries have in their `nn`."""
    hint = f"; {RENAMED[name]}" if name in RENAMED else ""
    return AttributeError(f"module {module!r} has no attribute {name!r}{hint}")


def hinted(init: AnyFunction) -> AnyFunction:
    """A constructor that notes on its errors what options of other libraries are here."""
    @wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            init(self, *args, **kwargs)
        except TypeError as e:
            for name in kwargs:
                if name in OPTIONS and f"unexpected keyword argument {name!r}" in str(e):
                    e.add_note(f"{name}: {OPTIONS[name]}")
            raise
    return __init__


def check_class(cls: type, layer: type) -> None:
    """TypeError for class attributes that hold layers but are no fields."""
    for name, value in vars(cls).items():
        if name in vars(cls).get("__annotations__", {}):
            if isinstance(value, list):
                raise TypeError(f"{cls.__name__}: the default of {name} is a list; make it a tuple")
        elif isinstance(value, layer):
            raise TypeError(f"{cls.__name__}.{name} holds a layer without an annotation, which "
                            f"makes it a child: {name}: nn.Layer = ...")


# ------------------------------------------------------------------ parameters and state

def checked_apply(apply: AnyFunction) -> AnyFunction:
    """`apply` that explains parameters, a state or arguments it cannot use."""
    @wraps(apply)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) < 2 or type(args[0]) is not dict or type(args[1]) is not dict:
            check_trees(self, dict(zip(("params", "state"), args, strict=False)) | kwargs)
        try:
            result = apply(self, *args, **kwargs)
            if type(result) is not tuple or len(result) != 2:
                raise self.error(f"returned {described(result)} from apply, expected the pair "
                                 "(outputs, state)")
            return result
        except KeyError as e:
            self.check_params(args[0] if args else kwargs["params"], e)
            explain_key_error(self, args[1] if len(args) > 1 else kwargs.get("state"))
            raise
        except TypeError as e:
            if isinstance(unwrap(kwargs.get("train", False)), Tracer):
                raise self.error("got a traced train; it chooses what runs: pass a Python bool, "
                                 "or mark it as static: lf.jit(f, static_argnames='train')") from e
            check_key(self, kwargs.get("key"), "apply(params, state, x, train=True, key=", e)
            check_arguments(self, apply, args, kwargs)
            add_shapes(self, args, e)
            raise
        except ValueError as e:
            add_shapes(self, args, e)
            raise
    return call


def add_shapes(layer: Any, args: tuple[Any, ...], error: Exception) -> None:
    """Note on the error which parameters have another shape than `init` gives them."""
    if hasattr(error, "__notes__") or hasattr(layer, "named_children") or not args:
        return
    try:
        wanted = eval_shape(layer.init_params, random.key(0))
        found = [f"{name} {typeof(args[0][name])}, where its init makes {list(p.shape)}"
                 for name, p in wanted.items() if typeof(args[0][name]).shape != p.shape]
    except Exception:  # parameters of another structure, or that are no arrays: no note
        return
    if found:
        error.add_note(f"{layer.headline()} got {'; '.join(found)}")


def noted(inputs: tuple[Any, ...]) -> str:
    """A remark on inputs that are tuples, which functions of arrays rarely take."""
    sizes = [len(x) for x in inputs if isinstance(x, tuple)]
    return f", which got a tuple of {sizes[0]}" if sizes else ""


def explain_key_error(layer: Any, state: Any) -> None:
    """LayerError where state is missing, or nobody makes the parameters of layers in fields."""
    for name in layer.init_state():
        layer.need_state(state, name)
    held = [name for name in layer.__dataclass_fields__
            if hasattr(getattr(layer, name), "init_params")]
    if held and not hasattr(layer, "named_children") and not layer.init_params(None):
        raise layer.error(f"holds layers ({', '.join(held)}) and makes no parameters for them; "
                          "derive it from nn.Composite: def forward(self, run, x), with children "
                          "called as run.name(x)") from None


def checked_init(init: AnyFunction) -> AnyFunction:
    """`init` that explains what it cannot use as a random key."""
    @wraps(init)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return init(self, *args, **kwargs)
        except TypeError as e:
            given = [*args, *kwargs.values()]
            if len(given) != 1:
                more = "; it needs no example of the input" if len(given) > 1 else ""
                raise self.error(f"takes one random key in init, got {len(given)} arguments"
                                 f"{more}: {MAKE}") from None
            check_key(self, given[0], "params, state = model.init(", e, optional=False)
            if (count := math.prod(given[0].shape)) != 1:
                raise self.error(f"got {count} keys in init; lf.vmap(model.init)(keys) makes as "
                                 "many models") from e
            raise
    return call


def check_trees(layer: Any, given: Mapping[str, Any]) -> None:
    """LayerError unless what was given as parameters and state, if anything was, can be that."""
    for name in ("params", "state"):
        value = given.get(name)
        if value is None or isinstance(value, Mapping):
            continue
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], Mapping):
            hint = "model.init returns a pair, unpack it: "
        elif name == "state" and isinstance(given.get("params"), Mapping):
            hint = "the state comes before the inputs, {} if there is none: "
        else:
            hint = "a layer holds no arrays, parameters and state come first: "
        raise layer.error(f"got {described(value)} as its {name}; {hint}{MAKE}, then {APPLY}")


def check_called(layer: Any, params: Any) -> None:
    """The same for layer(params, x)."""
    if params is None or isinstance(params, Mapping):
        return
    right = (APPLY if layer.stateful or layer.stochastic else "model(params, x)")
    raise layer.error(f"got {described(params)} as its params; a layer holds no arrays, parameters "
                      f"come first: {MAKE}, then {right}. Inside of a Composite call its children "
                      "as run.name(x)")


def check_key(layer: Any, key: Any, call: str, cause: Exception, optional: bool = True) -> None:
    """LayerError unless this is a random key, or None where it is optional."""
    if (key is None and optional) or getattr(getattr(key, "dtype", None), "names", None):
        return
    seed = key if type(key) is int else 0
    raise layer.error(f"got {described(key)} as the random key; make one of a seed: "
                      f"{call}random.key({seed}))") from cause


# ------------------------------------------------------------------ arguments

def check_arguments(layer: Any, apply: AnyFunction, args: tuple[Any, ...],
                    kwargs: dict[str, Any]) -> None:
    """LayerError if the arguments do not fit the signature of what they went to."""
    absent = [name for name in ("params", "state")[len(args):] if name not in kwargs]
    if absent:
        raise layer.error(f"got no {' and no '.join(absent)} in apply: {MAKE}, then "
                          f"{APPLY}") from None
    own = {k: v for k, v in kwargs.items() if k not in KEYWORDS}
    inputs = args[2:]
    shown = ", ".join([*map(described, inputs), *(f"{k}={described(v)}" for k, v in own.items())])
    forward = inspect.signature(layer.forward)
    generic = list(inspect.signature(apply).parameters)[3:4] == ["inputs"]
    taken = list((forward if generic else inspect.signature(apply)).parameters.values())
    if fits(inspect.signature(apply), layer, *args, **kwargs) and (
            not generic or fits(forward, None, *inputs, **own)):
        return
    if generic and fits(forward, *inputs, **own) and taken[0].name not in FIRST:
        first = "run" if hasattr(layer, "named_children") else "params"
        raise layer.error(
            f"defines forward{shortened(taken, 0)}; the first argument of forward is {first}: "
            f"def forward(self, {first}, {', '.join(p.name for p in taken)})"
            + (", with children called as run.name(x)" if first == "run" else "")) from None
    names = shortened(taken, 1 if generic else 3)
    if generic and any(p.name in ("train", "key") for p in taken):
        raise layer.error(f"defines forward with the arguments {names}, but forward gets inputs "
                          "only; in a Composite run.train and run.key(name) are the others, and a "
                          "Layer that needs them overrides apply") from None
    raise layer.error(f"got the inputs ({shown}), expected {names}: model.apply(params, state, "
                      "inputs, train=..., key=key), with train and key by keyword") from None


def fits(signature: inspect.Signature, *args: Any, **kwargs: Any) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def shortened(parameters: list[inspect.Parameter], start: int) -> str:
    """Parameters from one on, without annotations, train and key."""
    kept = [p.replace(annotation=p.empty) for p in parameters[start:]
            if p.kind != p.KEYWORD_ONLY or p.name not in KEYWORDS]
    return str(inspect.Signature(kept))


def described(value: Any) -> str:
    """A value in a message: arrays by their type."""
    if isinstance(value, (bool, int, float, str, type(None))):
        return repr(value)
    if isinstance(value, Mapping):
        return f"a dict of {list(value)}"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        module = type(value).__module__.partition(".")[0]
        return str(typeof(value)) if module in ("lucidfn", "numpy") else f"a {module} array"
    return f"a {type(value).__name__}"


__all__ = ["check_arguments", "check_called", "checked_apply", "checked_init", "missing",
           "refuse_assignment"]
