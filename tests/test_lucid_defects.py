"""An index of defects that a tape-based library had: for each, what would fail here if we had it.

An entry names tests of this suite, holds checks that run here, or says why there is nothing to
test.
"""

from __future__ import annotations

import ast
import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import lax, nn, optim, random, testing, tree
from lucidfn.nn import functional as F

TESTS = Path(__file__).parent
Entry = str | Callable[[], None]


def close(actual: Any, expected: Any, tol: float = 1e-6) -> None:
    testing.assert_allclose(actual, expected, tol, tol)


# ------------------------------------------------------------------ checks

def leaves_of_a_sum_have_gradients_of_their_own() -> None:
    ga, gb = lf.jit(lf.grad(lambda a, b: lnp.sum(a + b - (a - b)), argnums=(0, 1)))(
        lnp.ones(2), lnp.ones(2))
    assert not np.shares_memory(np.asarray(ga), np.asarray(gb))
    close(ga, [0.0, 0.0])
    close(gb, [2.0, 2.0])


def top_k_along_the_first_axis() -> None:
    x = lnp.asarray(np.random.default_rng(0).standard_normal((4, 3)))
    largest = lambda x: lax.top_k(x, 2, axis=0)[0]
    close(largest(x), -np.sort(-np.asarray(x), axis=0)[:2])
    testing.check_grads(lambda x: largest(x) ** 2, (x,))


def linear_bias_is_summed_over_all_examples() -> None:
    layer = nn.Linear(3, 3)
    params = layer.init(random.key(0))[0]
    x = lnp.ones((3, 3, 3))
    grads = lf.grad(lambda p: lnp.sum(layer.apply(p, {}, x)[0]))(params)
    close(grads["bias"], [9.0, 9.0, 9.0])


def activations_take_python_numbers_as_slopes() -> None:
    x = lnp.array([-2.0, 2.0])
    for layer in (nn.LeakyReLU(0.5), nn.ELU(), nn.SELU(), nn.CELU()):
        out, _ = layer.apply({}, {}, x)
        assert out.dtype == "float32" and -2 < float(out[0]) < 0 < float(out[1])


def adaptive_pooling_to_3_of_5_and_of_2() -> None:
    for n in (5, 2):
        layer = nn.AdaptiveAvgPool1d(3)
        assert layer.apply({}, {}, lnp.ones((1, n, 1)))[0].shape == (1, 3, 1)


def images_are_normalised_by_channel() -> None:
    images = lnp.ones((2, 4, 5, 3))
    out = (images - np.float32([1, 2, 3])) / np.float32([1, 2, 4])
    close(out[0, 0, 0], [0.0, -0.5, -0.5])


def items_of_a_model_stay() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.relu)
    with pytest.raises(TypeError):
        del model[0]  # type: ignore[attr-defined]


def item_is_a_float() -> None:
    assert type(lnp.array(2.0).item()) is float and type(lnp.array(2).item()) is int


def evaluation_of_a_transformer_is_deterministic() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5)
    params, state = layer.init(random.key(0))
    x = lnp.asarray(np.random.default_rng(0).standard_normal((1, 3, 4)), "float32")
    first, second = [layer.apply(params, state, x)[0] for _ in range(2)]
    np.testing.assert_array_equal(first, second)


def nothing_overflows_far_out() -> None:
    x = lnp.array([-1e4, -1e3, 0.0, 1e3, 1e4])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for f in (nn.sigmoid, nn.log_sigmoid, nn.softplus, nn.silu, F.mish, lnp.tanh):
            assert np.isfinite(f(x)).all()
            assert np.isfinite(lf.grad(lambda x, f=f: lnp.sum(f(x)))(x)).all()
    close(F.mish(x)[-2:], [1e3, 1e4])


def log_softmax_of_wide_logits_is_exact() -> None:
    x = lnp.array([0.0, 1000.0, -1000.0])
    close(nn.log_softmax(x), [-1000.0, 0.0, -2000.0])
    close(nn.logsumexp(x), 1000.0)


def floats_are_single_everywhere() -> None:
    layer = nn.BatchNorm1d(3)
    params, state = layer.init(random.key(0))
    x = lnp.ones((4, 3)) * lnp.arange(4.0)[:, None]
    out, state = layer.apply(params, state, x, train=True)
    assert {str(a.dtype) for a in tree.leaves((params, out, lnp.var(x, axis=0), lnp.zeros(3)))} == {
        "float32"}
    assert "float64" not in str(tree.map(lf.typeof, state))


# ------------------------------------------------------------------ the index

SECOND_ORDER = "test_known_defects.py::test_gradients_to_the_second_order"
LATER = "belongs to a part of the library that is not written yet: "

GRADIENTS: dict[str, list[Entry]] = {
    "broadcast operands, guessed by element count": [
        *[f"{SECOND_ORDER}[{case}]" for case in (
            "sum axis 0", "sum axis 1", "sum axes 0 1", "mean axes 0 2", "bias", "scale",
            "bias of equal count", "softmax axis 0")]],
    "bias of Linear": [f"{SECOND_ORDER}[linear]", linear_bias_is_summed_over_all_examples],
    "bias of convolutions": ["test_nn_convolution.py::test_gradients_of_biases_are_sums_over_all_"
                             "places"],
    "weight, bias and input of BatchNorm, LayerNorm": [
        "test_nn_normalization.py::test_gradients_of_weight_and_bias_follow_axes_not_element_counts",
        "test_nn_normalization.py::test_gradient_in_x_sums_to_nothing_over_what_is_normalised",
        f"{SECOND_ORDER}[batch statistics]", f"{SECOND_ORDER}[layer statistics]"],
    "x.T": ["test_known_defects.py::test_readme_example_of_x_times_its_transpose",
            f"{SECOND_ORDER}[x @ x.T]", f"{SECOND_ORDER}[T of three axes]", f"{SECOND_ORDER}[mT]"],
    "indices that repeat": ["test_known_defects.py::test_embedding_rows_accumulate",
                            f"{SECOND_ORDER}[duplicate integers]",
                            f"{SECOND_ORDER}[duplicate pairs]"],
    "tokens that repeat": ["test_nn_embedding.py::test_gradients_of_repeated_ids_accumulate"],
    "pixels that interpolation uses more than once": [
        "test_nn_images.py::test_gradients_of_interpolate_count_every_use_of_a_pixel"],
    "diamonds": ["test_known_defects.py::test_diamond_of_shared_branches",
                 f"{SECOND_ORDER}[diamond]"],
    "one buffer as the gradient of two leaves": [
        "test_transformations.py::test_gradients_of_one_leaf_used_twice_are_not_aliased",
        leaves_of_a_sum_have_gradients_of_their_own],
    "y * y": [f"{SECOND_ORDER}[y * y of one y]", f"{SECOND_ORDER}[y used thrice]"],
    "inverse, determinant, pseudoinverse, batches of them": [
        "test_linalg.py::test_function_of_a_square_matrix", "test_linalg.py::test_pseudoinverse",
        f"{SECOND_ORDER}[inv batched]", f"{SECOND_ORDER}[pinv]"],
    "solve, both operands": ["test_linalg.py::test_solve", f"{SECOND_ORDER}[solve]"],
    "Cholesky": ["test_linalg.py::test_cholesky", f"{SECOND_ORDER}[cholesky]"],
    "both parts of QR": ["test_linalg.py::test_qr", f"{SECOND_ORDER}[qr]"],
    "singular vectors": ["test_linalg.py::test_svd"],
    "eigenvalues and eigenvectors": ["test_linalg.py::test_eig", "test_linalg.py::test_eigh"],
    "powers of matrices": [f"{SECOND_ORDER}[matrix_power]"],
    "spectral norm": ["test_linalg.py::test_matrix_norms", f"{SECOND_ORDER}[spectral norm]"],
    "cumsum along the last axis": [f"{SECOND_ORDER}[cumsum axis -1]"],
    "variance without kept axes": [f"{SECOND_ORDER}[var keepdims=False]"],
    "tile, hstack, meshgrid, diagonal": [
        *[f"{SECOND_ORDER}[{case}]" for case in (
            "tile", "tile more axes", "hstack uneven", "meshgrid", "diagonal of three axes")]],
    "top_k along another axis": [top_k_along_the_first_axis],
    "products: inner, with vectors, default axes, one operand": [
        *[f"{SECOND_ORDER}[{case}]" for case in (
            "inner", "matmul 1-D right", "tensordot default", "einsum one operand")]],
    "transposed convolution": [
        "test_nn_convolution.py::test_transposed_convolution_has_gradients"],
    "|x| at 0, and ties of extrema": ["test_known_defects.py::test_subgradients"],
    "running products with a zero": ["test_known_defects.py::test_products_with_zeros"],
}

FORWARD: dict[str, list[Entry]] = {
    "LSTM of one hidden size only": [
        "test_nn_recurrent.py::test_lstm_works_for_every_hidden_size_not_only_4"],
    "GRU of one hidden size only": [
        "test_nn_recurrent.py::test_gru_works_for_every_hidden_size_not_only_3"],
    "heads that split the sequence": [
        "test_nn_attention.py::test_heads_split_the_channels_and_not_the_sequence",
        "test_nn_attention.py::test_every_token_reaches_every_query"],
    "masks beside extra keys": [
        "test_nn_attention.py::test_masks_of_extra_keys_grow_on_the_axis_of_keys_alone"],
    "scalars cast to the dtype of the array": [
        "test_known_defects.py::test_scalars_promote_as_in_jax",
        "test_numpy_math.py::test_promotion"],
    "activations that raise for it": [
        activations_take_python_numbers_as_slopes,
        "test_nn_activation_layers.py::test_scalars_of_a_layer_keep_the_dtype",
        "test_nn_dropout.py::test_alpha_dropout_runs"],
    "DropPath: NaN, and active in evaluation": [
        "test_nn_dropout.py::test_drop_path_respects_evaluation_and_gives_no_nan"],
    "conversion in place": ["test_known_defects.py::test_conversion_makes_a_new_array"],
    "bilinear as nearest": ["test_nn_images.py::test_bilinear_does_not_degenerate_to_nearest"],
    "area interpolation": ["test_nn_images.py::test_area_means_over_slices_of_uneven_windows"],
    "maxima padded with zeros": [
        "test_nn_pooling.py::test_max_pool_pads_with_minus_infinity_not_zero"],
    "stride of pooling": ["test_nn_pooling.py::test_the_stride_is_by_default_the_kernel_size"],
    "adaptive pooling": ["test_nn_pooling.py::test_adaptive_pooling_takes_any_output_size",
                         adaptive_pooling_to_3_of_5_and_of_2],
    "scrambled Unfold": ["test_nn_convolution.py::test_unfold_is_not_scrambled"],
    "normalisation by channel": [images_are_normalised_by_channel,
                                 "as a transform of data sets: " + LATER + "data"],
    "argmax of everything": ["test_known_defects.py::test_argmax_of_everything"],
    "BatchNorm1d of [N, C]": [
        "test_nn_normalization.py::test_batch_norm_1d_takes_rows_of_features"],
    "BCEWithLogitsLoss()": [
        "test_nn_loss_classes.py::test_binary_cross_entropy_with_logits_loss_needs_no_arguments"],
    "losses without reduction": [
        "test_nn_losses.py::test_reduction_none_is_accepted_and_unknown_ones_are_not"],
    "items that cannot be deleted": [items_of_a_model_stay],  # models are values
    "item() of a whole float": [item_is_a_float],
    "dropout of attention in evaluation": [
        "test_nn_attention.py::test_evaluation_does_not_drop",
        evaluation_of_a_transformer_is_deterministic],
    "biased running variance": [
        "test_nn_normalization.py::test_running_variance_is_unbiased_and_normalisation_biased"],
    "split, scale and shape of image data sets": [LATER + "data sets"],
    "an activation after the logits of LeNet": [LATER + "the image models"],
}

NUMERICS: dict[str, list[Entry]] = {
    "capped cross-entropy with a dead gradient": [
        "test_nn_losses.py::test_cross_entropy_is_not_capped_and_its_gradient_not_dead",
        "test_nn_losses.py::test_cross_entropy_of_wild_logits"],
    "log_softmax and logsumexp": [log_softmax_of_wide_logits_is_exact,
                                  "test_nn_activations.py::test_softmax_is_stable"],
    "mean with class weights": [
        "test_nn_losses.py::test_cross_entropy_of_a_class_weighted_mean"],
    "cross-entropy of dense predictions": [
        "test_nn_losses.py::test_cross_entropy_of_dense_predictions"],
    "sigmoid and mish that overflow": [nothing_overflows_far_out],
    "variance of mixed precision": [
        floats_are_single_everywhere,
        "test_nn_normalization.py::test_statistics_of_half_precision_are_computed_in_single"],
    "double precision by default": [floats_are_single_everywhere,
                                    "test_nn_layers.py::test_single_precision_stays_single"],
}


# ------------------------------------------------------------------ checks of optimizers

def radam_starts_without_the_variance() -> None:
    tx, params = optim.radam(1.0), {"w": lnp.zeros(1)}
    state, steps = tx.init(params), []
    for _ in range(6):
        updates, state = tx.update({"w": lnp.full(1, 2.0)}, state, params)
        steps.append(float(updates["w"][0]))
    close(steps[:5], [-2.0] * 5)  # rho is above 4 at step 5, and above 5 at step 6
    assert -0.5 < steps[5] < 0


def step_decay_starts_at_step_0() -> None:
    close([optim.step_decay(1.0, 2, 0.1)(n) for n in range(6)], [1, 1, 0.1, 0.1, 0.01, 0.01])


OPTIMIZERS: dict[str, list[Entry]] = {
    "schedules an epoch late": [
        "test_optim_schedules.py::test_step_0_is_the_first_value_and_not_an_epoch_late",
        "parity/test_torch_schedules.py", step_decay_starts_at_step_0],
    "CyclicLR up and down": ["test_optim_schedules.py::test_cyclic_with_up_different_from_down"],
    "cooldown of a plateau": ["test_optim_schedules.py::test_a_plateau_heeds_its_cooldown"],
    "weight decay in the first momentum": [
        "test_optim_formulas.py::test_the_first_momentum_buffer_has_the_weight_decay"],
    "maximum of AMSGrad": ["test_optim_formulas.py::test_amsgrads_maximum_is_stored"],
    "formula of NAdam": ["test_optim_formulas.py::test_nadam_is_dozats"],
    "threshold of RAdam": ["test_optim_formulas.py::test_radam_rectifies_above_five",
                           radam_starts_without_the_variance],
    "step sizes of Rprop": ["test_optim_formulas.py::test_rprops_steps_persist"],
    "eps of RMSprop": ["test_optim_formulas.py::test_rmsprops_eps_is_outside_the_root"],
    "eps of Adam, AdamW": [
        "test_optim_formulas.py::test_adams_eps_is_added_after_bias_correction"],
    "all optimizers, beside PyTorch's": ["parity/test_torch_optim.py"],
}

DEFECTS = {f"{part}: {name}": entries for part, found in (
    ("gradients", GRADIENTS), ("forward", FORWARD), ("numerics", NUMERICS),
    ("optimizers", OPTIMIZERS)) for name, entries in found.items()}


@functools.cache
def names_in(file: str) -> tuple[set[str], set[str]]:
    """The functions and the strings of a file of tests."""
    nodes = list(ast.walk(ast.parse((TESTS / file).read_text())))
    return ({n.name for n in nodes if isinstance(n, ast.FunctionDef)},
            {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)})


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_index_holds(defect: str) -> None:
    entries = DEFECTS[defect]
    assert entries
    for entry in entries:
        if callable(entry):
            entry()
        elif LATER not in entry:
            file, _, rest = entry.partition("::")
            name, _, case = rest.partition("[")
            functions, strings = names_in(file)
            assert name in functions or not name and any(f.startswith("test_") for f in functions)
            assert not case or case.removesuffix("]") in strings, entry
