"""Volumes of pods: what they contain, and how it reaches the provider."""
