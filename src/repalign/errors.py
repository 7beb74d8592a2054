"""Errors meant for the person who reads them: which file or key, what was expected, what to do."""


class RepalignError(Exception):
    """A problem that the user can mend; scripts print its message alone, without a traceback."""


class ConfigError(RepalignError):
    """The configuration asks for something that cannot be done."""


class DownloadError(RepalignError):
    """A remote file could not be had, or is not the file it should be."""


class DataError(RepalignError):
    """A data set's source files or its arrays are not what they should be."""


class StoreError(RepalignError):
    """A result file is missing, damaged or of another kind than expected."""


class MeasureError(RepalignError):
    """A measure is undefined for these representations."""


class DiversityError(MeasureError):
    """The diversity condition of Roeder et al. (2021) fails, so no linear map follows from the theorem."""


class PluginError(RepalignError):
    """A function of the user's own cannot be loaded, or does not give what it should."""
