"""Engines: PostgreSQL, Delta and DuckDB, files, jobs, the clock. Started or connected here and nowhere else.

Nothing is imported here: the base install has no database library, so each engine is its own module.
"""
