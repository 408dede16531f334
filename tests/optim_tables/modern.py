"""Rows of the optimizers of recent years, and of L-BFGS."""

from typing import Any

from lucidfn import optim

from .table import OptimizerCase as Case


def torch_muon(O: Any, params: list[Any], lr: float, **options: Any) -> Any:
    """PyTorch's Muon on the transposes of matrices, its weights being [out, in], and its AdamW on
    the others; without the rounding to bfloat16 inside."""
    matrices = [p for p in params if p.ndim == 2]
    views = [p.detach().T for p in matrices]
    muon = O.Muon(views, lr=lr, **options)
    adamw = O.AdamW([p for p in params if p.ndim != 2], lr=lr, weight_decay=0.1)

    class Both:
        def step(self) -> None:
            for p, view in zip(matrices, views, strict=True):
                view.grad = p.grad.T
            kind = type(views[0])
            rounding, kind.bfloat16 = kind.bfloat16, lambda x: x.clone()
            try:
                muon.step()
            finally:
                kind.bfloat16 = rounding
            adamw.step()

        def zero_grad(self) -> None:
            for p in params:
                p.grad = None

    return Both()


def optax_lars(O: Any, lr: float) -> Any:
    return O.lars(lr, 0.1, trust_coefficient=0.02, momentum=0.8, nesterov=True)


CASES = [
    Case("lion", lambda lr: optim.lion(lr, weight_decay=0), None,
         lambda O, lr: O.lion(lr, weight_decay=0.0), parabola=(0.003, 2500),
         rosenbrock=(0.002, 2000)),
    Case("lion", lambda lr: optim.lion(lr, 0.8, 0.95, 0.1), None,
         lambda O, lr: O.lion(lr, 0.8, 0.95, weight_decay=0.1), parabola=None,
         id="lion weight_decay"),
    Case("lamb", lambda lr: optim.lamb(lr), None, lambda O, lr: O.lamb(lr), parabola=(0.003, 2500)),
         # Not the valley: a step in proportion to the parameter never takes a number past 0.
    Case("lamb", lambda lr: optim.lamb(lr, weight_decay=0.1), None,
         lambda O, lr: O.lamb(lr, weight_decay=0.1), parabola=None, id="lamb weight_decay"),
    Case("lars", lambda lr: optim.lars(lr, trust_coefficient=0.1), None,
         lambda O, lr: O.lars(lr, trust_coefficient=0.1), lr=0.1, parabola=(0.02, 600),
         # The step is as long as the parameters are, whatever the gradient: it circles the optimum.
         reach=5e-2),
    Case("lars", lambda lr: optim.lars(lr, 0.1, trust_coefficient=0.02, momentum=0.8,
                                       nesterov=True), None, optax_lars, lr=0.5, parabola=None,
         id="lars nesterov, weight_decay"),
    Case("adafactor", lambda lr: optim.adafactor(lr), lambda O, p, lr: O.Adafactor(p, lr=lr),
         parabola=(0.1, 600), rosenbrock=(0.02, 4000), complex=False),
    Case("adafactor", lambda lr: optim.adafactor(lr, -0.6, (1e-4, 1e-2), 1.5, 0.1),
         lambda O, p, lr: O.Adafactor(p, lr=lr, beta2_decay=-0.6, eps=(1e-4, 1e-2), d=1.5,
                                      weight_decay=0.1), lr=0.05, parabola=None, complex=False,
         id="adafactor weight_decay"),
    Case("adan", lambda lr: optim.adan(lr), None, lambda O, lr: O.adan(lr), parabola=(0.1, 600),
         rosenbrock=(0.05, 1500)),
    Case("adan", lambda lr: optim.adan(lr, 0.9, 0.8, 0.95, 1e-4, 1e-6, 0.1), None,
         lambda O, lr: O.adan(lr, 0.9, 0.8, 0.95, 1e-4, 1e-6, 0.1), parabola=None,
         id="adan weight_decay"),
    # On matrices its steps do not shrink with the gradient: the parabola is for AdamW's leaves.
    Case("muon", lambda lr: optim.muon(lr), torch_muon, parabola=None, complex=False),
    Case("muon", lambda lr: optim.muon(lr, 0.0, 0.8, False, (2.0, -1.5, 0.5), 1e-3, 7,
                                       "match_rms_adamw", others=optim.adamw(lr, weight_decay=0.1)),
         lambda O, p, lr: torch_muon(O, p, lr, weight_decay=0.0, momentum=0.8, nesterov=False,
                                     ns_coefficients=(2.0, -1.5, 0.5), eps=1e-3, ns_steps=7,
                                     adjust_lr_fn="match_rms_adamw"),
         parabola=None, complex=False, id="muon match_rms_adamw"),
    Case("muon", lambda lr: optim.muon(lr, weight_decay=0), parabola=(0.1, 600),
         rosenbrock=(0.05, 1000), complex=False, id="muon on vectors"),
    Case("lookahead", lambda lr: optim.lookahead(optim.adam(lr)), rosenbrock=(0.05, 1500)),
    Case("schedule_free", lambda lr: optim.schedule_free(optim.sgd(lr), lr), None,
         lambda O, lr: O.contrib.schedule_free(O.sgd(lr), lr),
         # Its parameters are not the averages that converge.
         parabola=(0.1, 1000), rosenbrock=(0.02, 3000), reach=2e-2),
    Case("schedule_free", lambda lr: optim.schedule_free(
        optim.rmsprop(lr, decay=0.99), lr, 0.8, 1.0), None,
         lambda O, lr: O.contrib.schedule_free(O.rmsprop(
             lr, decay=0.99, eps=1e-8, eps_in_sqrt=False), lr, 0.8, 1.0), parabola=None,
         id="schedule_free rmsprop"),
    # Its line search makes the learning rate idle.
    Case("lbfgs", lambda lr: optim.lbfgs(lr), parabola=(1.0, 15), rosenbrock=(1.0, 30),
         complex=False, vmap=False, line_search=True),
]
