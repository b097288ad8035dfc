"""Phantoms and fakes for the tests and the self-test of the installed extension (layer: testing, numpy only)."""
