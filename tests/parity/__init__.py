"""Values, dtypes and gradients beside JAX's, one table row a function."""
