"""Training of many seeds at once."""
