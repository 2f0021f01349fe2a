"""Parts of bench/rules.py."""
