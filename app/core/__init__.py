"""Modules that every package imports: settings, errors, metrics, logs, the clock, quantities and timestamps."""
