"""Define the one error hierarchy. Every message says where, what was expected, what was found and what to do."""


class GossamerError(Exception):
    """Report a problem the user can act on. The command line prints the message alone and exits with `exit_status`."""

    exit_status = 2


class ConfigError(GossamerError):
    """A hardware config is malformed or does not fit its device. Holds every problem found, one per line."""


class ModelError(GossamerError):
    """A model cannot be read, bound to shapes or expressed with the supported layers."""


class MappingError(GossamerError):
    """A network cannot be scheduled on a config: no legal tile exists."""


class ProgramError(GossamerError):
    """A Program file is malformed or was built for another config."""


class ToolError(GossamerError):
    """An external tool is missing or failed; names the tool, the step and the log."""

    exit_status = 1


class SelfCheckError(GossamerError):
    """A conservation law that every run asserts does not hold: a defect of Gossamer, never of the input."""

    exit_status = 1
