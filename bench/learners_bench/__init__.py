"""What `bench/learners.py` is made of: an invented population with its truth, the runs, and the peer."""
