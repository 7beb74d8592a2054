"""The theories of the two papers, on arrays."""
