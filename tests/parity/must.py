"""The names that a library of this kind must have: those of JAX that programs rely on."""

from __future__ import annotations


def words(text: str) -> list[str]:
    return text.split()


TOP = words("""
    grad value_and_grad vjp jvp jacfwd jacrev jacobian hessian hvp vmap jit linearize
    linear_transpose make_ir make_jaxpr eval_shape ShapeDtypeStruct typeof checkpoint remat
    jet ggnvp checkpoint_name checkpoint_policies saved_residuals print_saved_residuals
    closure_convert custom_jvp custom_vjp custom_gradient disable_jit debug_nans debug_infs
    default_dtype tree tree_util debug device_put device_get devices default_device
    default_backend block_until_ready clear_caches Array config named_call
    ConcretizationTypeError TracerArrayConversionError TracerBoolConversionError
    TracerIntegerConversionError NonConcreteBooleanIndexError UnexpectedTracerError KeyReuseError
""")

TREE = words("""
    map leaves flatten unflatten structure reduce all transpose flatten_with_path
    leaves_with_path map_with_path broadcast
""")

TREE_UTIL = words("""
    tree_map tree_flatten tree_unflatten tree_leaves tree_structure tree_all tree_reduce
    tree_transpose tree_map_with_path tree_flatten_with_path tree_leaves_with_path keystr
    register_pytree_node register_pytree_node_class register_pytree_with_keys register_dataclass
    register_static Partial PyTreeDef DictKey SequenceKey GetAttrKey FlattenedIndexKey all_leaves
    treedef_tuple treedef_children treedef_is_leaf tree_broadcast
""")

NUMPY = words("""
    array asarray zeros ones full empty zeros_like ones_like full_like empty_like arange linspace
    eye identity diag tri tril triu meshgrid copy
    dtype astype result_type promote_types can_cast finfo iinfo issubdtype isdtype iscomplexobj
    isrealobj isscalar shape ndim size ndarray newaxis pi e inf nan
    float16 bfloat16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool_
    complex64 complex128 floating integer inexact complexfloating signedinteger unsignedinteger
    number generic set_printoptions
    abs absolute negative positive sign sqrt square reciprocal exp exp2 expm1 log log2 log10 log1p
    sin cos tan arcsin arccos arctan arctan2 sinh cosh tanh arcsinh arccosh arctanh asin acos atan
    atan2 asinh acosh atanh floor ceil round rint trunc clip maximum minimum add subtract multiply
    divide true_divide floor_divide mod remainder power pow logaddexp hypot logical_and logical_or
    logical_not logical_xor bitwise_and bitwise_or bitwise_xor bitwise_not bitwise_invert invert
    left_shift right_shift equal not_equal less less_equal greater greater_equal isfinite isinf
    isnan isclose allclose array_equal where select nan_to_num real imag conj conjugate angle sinc
    sum prod mean var std max min amax amin all any argmax argmin cumsum cumprod count_nonzero
    average median logaddexp2 nansum nanmean nanmax nanmin ptp quantile percentile
    reshape ravel transpose matrix_transpose permute_dims moveaxis swapaxes squeeze expand_dims
    broadcast_to broadcast_arrays broadcast_shapes concatenate concat stack unstack vstack hstack
    dstack column_stack split array_split hsplit vsplit tile repeat flip fliplr flipud roll rot90
    pad atleast_1d atleast_2d atleast_3d append
    take take_along_axis put_along_axis sort argsort searchsorted nonzero flatnonzero argwhere
    unique diagonal tril_indices triu_indices diag_indices indices unravel_index ravel_multi_index
    ix_ mgrid ogrid r_ c_ s_ index_exp digitize bincount
    dot vdot vecdot inner outer matmul tensordot einsum kron cross trace diff gradient trapezoid
    interp convolve linalg fft
""")

LINALG = words("""
    norm inv solve det slogdet cholesky qr svd svdvals eigh eigvalsh pinv lstsq matrix_rank
    matrix_power multi_dot vector_norm matrix_norm
""")

METHODS = words("""
    all any argmax argmin argsort astype at clip conj copy cumprod cumsum diagonal dot dtype
    flatten imag item itemsize max mean min nbytes ndim nonzero prod ptp ravel real repeat reshape
    round searchsorted shape size sort squeeze std sum swapaxes take T mT tolist trace transpose
    var view __array__ __dlpack__ __array_namespace__ __iter__ __len__ __getitem__ __matmul__
    __rmatmul__ __divmod__ __rdivmod__ __add__ __radd__ __sub__ __rsub__ __mul__ __rmul__
    __truediv__ __rtruediv__ __floordiv__ __rfloordiv__ __mod__ __rmod__ __pow__ __rpow__ __and__
    __rand__ __or__ __ror__ __xor__ __rxor__ __lshift__ __rlshift__ __rshift__ __rrshift__
    __neg__ __pos__ __abs__ __invert__ __lt__ __le__ __eq__ __ne__ __gt__ __ge__ __bool__ __int__
    __float__ __complex__ __index__
""")

AT = words("set add multiply divide power min max apply get")

LAX = words("""
    cond switch scan while_loop fori_loop map associative_scan
    select select_n stop_gradient
    add sub mul div neg pow integer_pow exp log log1p expm1 sin cos tanh logistic sqrt rsqrt square
    abs sign floor ceil round max min clamp rem eq ne lt le gt ge erf erfc erf_inv lgamma digamma
    is_finite psum pmean pmax pmin psum_scatter all_gather all_to_all ppermute pshuffle
    axis_index axis_size
    convert_element_type full full_like iota broadcasted_iota broadcast_in_dim reshape squeeze
    expand_dims transpose rev concatenate pad slice slice_in_dim dynamic_slice dynamic_slice_in_dim
    dynamic_index_in_dim dynamic_update_slice dynamic_update_slice_in_dim
    dynamic_update_index_in_dim
    gather scatter scatter_add GatherDimensionNumbers ScatterDimensionNumbers
    dot dot_general batch_matmul conv conv_general_dilated conv_transpose conv_dimension_numbers
    reduce_sum reduce_max reduce_min reduce_prod reduce_window argmax argmin cumsum cumprod cummax
    cummin sort top_k
""")

RANDOM = words("""
    key PRNGKey split fold_in normal uniform randint bernoulli categorical permutation choice
    truncated_normal gumbel bits key_data
""")

NN = words("""
    relu sigmoid softmax log_softmax gelu silu swish softplus log_sigmoid leaky_relu elu selu tanh
    one_hot logsumexp glu relu6 standardize dot_product_attention
""")

INITIALIZERS = words("""
    zeros ones constant normal uniform truncated_normal variance_scaling glorot_normal
    glorot_uniform xavier_normal xavier_uniform he_normal he_uniform kaiming_normal kaiming_uniform
    lecun_normal lecun_uniform orthogonal
""")

FFT = words("""
    fft ifft rfft irfft fft2 ifft2 fftn ifftn rfftn irfftn fftfreq rfftfreq fftshift ifftshift
""")

SPECIAL = words("logsumexp expit logit erf erfc erfinv gammaln digamma xlogy entr")

MUST: dict[str, list[str]] = {
    "lucidfn": TOP, "lucidfn.tree": TREE, "lucidfn.tree_util": TREE_UTIL,
    "lucidfn.flatten_util": ["ravel_pytree"], "lucidfn.numpy": NUMPY,
    "lucidfn.numpy.linalg": LINALG, "lucidfn.numpy.fft": FFT, "lucidfn.lax": LAX,
    "lucidfn.random": RANDOM, "lucidfn.nn": NN, "lucidfn.nn.initializers": INITIALIZERS,
    "lucidfn.scipy.special": SPECIAL, "lucidfn.debug": ["print", "callback"],
}

# Wanted, and missed less: `python -m tests.parity.report` counts them.
SHOULD: dict[str, list[str]] = {
    "lucidfn": ["live_arrays"],
    "lucidfn.numpy": words("""
        cbrt fabs float_power copysign signbit nextafter ldexp frexp modf fmax fmin fmod divmod gcd
        lcm deg2rad rad2deg degrees radians heaviside i0 isneginf isposinf isreal iscomplex
        bitwise_left_shift bitwise_right_shift array_equiv spacing
        cov corrcoef histogram histogram_bin_edges histogram2d histogramdd nanmedian nanprod nanstd
        nanvar nanargmax nanargmin nancumsum nancumprod nanpercentile nanquantile cumulative_sum
        cumulative_prod ediff1d correlate
        dsplit rollaxis resize insert delete block fill_diagonal diagflat diag_indices_from
        tril_indices_from triu_indices_from mask_indices choose compress extract place put
        argpartition partition lexsort trim_zeros vander piecewise apply_along_axis
        apply_over_axes vectorize fromfunction logspace geomspace bartlett blackman hamming hanning
        kaiser unwrap einsum_path matvec vecmat
        isin intersect1d union1d setdiff1d setxor1d unique_all unique_counts unique_inverse
        unique_values polyval polyfit polyadd polysub polymul polydiv polyder polyint poly roots
        save savez load from_dlpack frombuffer printoptions get_printoptions array_repr array_str
        euler_gamma
    """),
    "lucidfn.numpy.linalg": words("eig eigvals cond cross diagonal matmul matrix_transpose outer "
                                  "tensordot tensorinv tensorsolve trace vecdot"),
    "lucidfn.numpy.fft": words("hfft ihfft rfft2 irfft2"),
    "lucidfn.lax": words("""
        conv_with_general_padding conv_general_dilated_patches reduce reduce_and reduce_or
        scatter_max scatter_min scatter_mul scatter_sub scatter_apply cumlogsumexp sort_key_val
        broadcast bitcast_convert_type index_in_dim index_take collapse split tile stack unstack
        reciprocal betainc igamma igammac polygamma zeta bessel_i0e bessel_i1e random_gamma_grad
        real imag complex conj cbrt exp2 tan asin acos atan atan2 sinh cosh asinh acosh atanh
        nextafter bitwise_and bitwise_or bitwise_xor bitwise_not shift_left shift_right_logical
        shift_right_arithmetic population_count clz reduce_precision optimization_barrier fft
        rng_bit_generator linalg
    """),
    "lucidfn.lax.linalg": words("cholesky eigh lu qr svd triangular_solve"),
    "lucidfn.random": words("""
        exponential laplace gamma beta dirichlet poisson multivariate_normal rademacher logistic
        orthogonal cauchy t lognormal binomial geometric clone wrap_key_data key_impl
    """),
    "lucidfn.nn": words("hard_tanh hard_sigmoid hard_silu hard_swish soft_sign celu mish "
                        "squareplus sparse_plus sparse_sigmoid identity log1mexp logmeanexp"),
    "lucidfn.scipy.special": words("gamma beta betaln betainc gammainc gammaincc polygamma zeta "
                                   "ndtr log_ndtr ndtri i0 i0e i1 i1e multigammaln xlog1py expi"),
    "lucidfn.scipy.linalg": words("cho_factor cho_solve solve_triangular expm lu lu_factor "
                                  "lu_solve block_diag cholesky eigh toeplitz sqrtm polar"),
    "lucidfn.scipy.stats": words("norm uniform expon gamma beta t bernoulli binom poisson "
                                 "multivariate_normal laplace logistic"),
    "lucidfn.scipy.signal": words("convolve convolve2d correlate"),
}
