"""Pricing as part of a pipeline: what is spent stays spent, whatever happens to the process."""
