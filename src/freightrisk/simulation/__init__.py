"""Simulated books of orders, lines, buyers, merchants, parcels and claims, with every planted fact."""
