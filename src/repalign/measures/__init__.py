"""Alignment measures on arrays, and the evidence beside them. Rows are probe points, columns are units."""
