"""The parts of national_day.py."""
