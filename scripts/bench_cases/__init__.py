"""What `scripts/bench.py` measures, one file a group of cases."""
