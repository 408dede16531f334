"""Ordinary differential equations."""

from lucidfn.ode.odeint import odeint

__all__ = ["odeint"]
