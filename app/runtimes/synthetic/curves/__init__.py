"""Curves of usage over the time since the start of a container: parsed, evaluated, integrated, capped."""
