"""Attacks on the library: damaged documents and odd frames, each of which it prices or refuses in its own words.

    python -m benchmarks.attack documents --cases 200000
    python -m benchmarks.attack frames --cases 50000
    bash benchmarks/attack/sanitized.sh          the same, shorter, with a kernel that watches every access

A case is a seed: the same seed makes the same document or frame, so a fault is shown again by
``--cases 1 --seed N``. Cases run in processes of their own, so that one that ends by a signal is counted and the rest
goes on.
"""
