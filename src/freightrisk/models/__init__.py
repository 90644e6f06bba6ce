"""Claim frequency and severity as sums of log tables."""
