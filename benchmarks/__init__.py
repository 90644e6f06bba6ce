"""What freightrisk's kernels cost beside the best alternative, in one run on the same data."""
