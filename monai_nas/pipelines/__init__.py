"""Straight-line compositions of the stages: one call a stage, from files to files."""
