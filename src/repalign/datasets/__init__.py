"""Data sets in one form. A kind of the config is the module of that name, and its `make` makes the data set."""
