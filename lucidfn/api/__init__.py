"""The transformations as users call them: over pytrees, keyword arguments and closures."""

from lucidfn.api import checkpoint_policies, guards
from lucidfn.api.autodiff import (
    grad,
    hessian,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    linear_transpose,
    linearize,
    value_and_grad,
    vjp,
)
from lucidfn.api.cache import clear_caches
from lucidfn.api.checkpoint import (
    checkpoint,
    checkpoint_name,
    closure_convert,
    named_call,
    remat,
    stop_gradient,
)
from lucidfn.api.custom import (
    CustomVJPPrimal,
    SymbolicZero,
    custom_gradient,
    custom_jvp,
    custom_vjp,
    custom_vmap,
    sequential_vmap,
)
from lucidfn.api.inspect import eval_shape, make_ir, make_jaxpr
from lucidfn.api.jet import jet
from lucidfn.api.jit import jit
from lucidfn.api.products import ggnvp, hvp
from lucidfn.api.residuals import print_saved_residuals, saved_residuals
from lucidfn.api.vmap import vmap

__all__ = ["CustomVJPPrimal", "SymbolicZero", "checkpoint", "checkpoint_name",
           "checkpoint_policies", "clear_caches", "closure_convert", "custom_gradient",
           "custom_jvp", "custom_vjp", "custom_vmap", "eval_shape", "ggnvp", "grad", "hessian",
           "hvp", "jacfwd", "jacobian", "jacrev", "jet", "jit", "jvp", "linear_transpose",
           "linearize", "make_ir", "make_jaxpr", "named_call", "print_saved_residuals", "remat",
           "saved_residuals", "sequential_vmap", "stop_gradient", "value_and_grad", "vjp", "vmap"]
