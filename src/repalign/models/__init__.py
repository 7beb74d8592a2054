"""Encoders and decoders. A kind of the config is the module of that name, and its `build` makes the network."""
