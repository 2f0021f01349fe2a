"""The parts of the hub's benchmark: an installation to measure, the load, the peer, the floor, the growth."""
