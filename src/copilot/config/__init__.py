"""Configuration as frozen values. The only reader of the environment and of configuration files.

``load`` takes the flags as the command line parsed them and gives one ``Configuration``. What wins over what: a flag, then a
``COPILOT_*`` variable, then Flyte's storage configuration (flags, then ``STORAGE.*`` variables, then the YAML files, the last
by name first), then each cloud's own chain.
"""

from __future__ import annotations

from copilot.config.loading import load
from copilot.config.printable import printable, secret_values
from copilot.config.values import Configuration, LogSettings

__all__ = ["Configuration", "LogSettings", "load", "printable", "secret_values"]
