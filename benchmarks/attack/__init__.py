"""Attacks on the library: damaged documents, odd frames and odd arguments, which it must price or refuse by an error.

    python -m benchmarks.attack documents --cases 200000
    python -m benchmarks.attack frames --cases 50000
    bash benchmarks/attack/sanitized.sh          the same, shorter, with a kernel that checks every memory access

A case is a seed. The same seed makes the same document or frame, so ``--cases 1 --seed N`` repeats a fault. Cases run
in separate processes: if a signal ends a process, the case counts as a fault and the others continue.
"""
