"""Measurements behind the figures in the documentation, each a command of its own."""
