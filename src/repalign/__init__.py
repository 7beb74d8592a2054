"""Do networks that were trained apart learn the same representation, and up to which transformation?"""

__version__ = "0.1.0.dev0"
