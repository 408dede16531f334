"""How programs are run: one package for each kind of array."""
