"""Tests of factors and of nested models."""

from freightrisk.models.inference import NestedTest, likelihood_ratio_test, wald_tests

__all__ = ["NestedTest", "likelihood_ratio_test", "wald_tests"]
