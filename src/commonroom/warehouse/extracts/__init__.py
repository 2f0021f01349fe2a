"""Extracts: frozen copies for those whose request was approved; proved by a signed manifest, made again from their time."""
