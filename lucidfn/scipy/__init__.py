"""The parts of SciPy that are functions of arrays: `special`, `stats`, `linalg`."""
