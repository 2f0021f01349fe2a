"""The parts of bench/warehouse.py."""
