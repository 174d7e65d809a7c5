"""What each method is worth, measured: `python -m benchmarks.run --list`."""
