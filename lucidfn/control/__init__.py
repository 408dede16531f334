"""Primitives that contain programs: calls, checkpoints, custom rules, loops and branches."""
