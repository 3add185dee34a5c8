"""Reading of a configuration file: Python or JSON, as traitlets reads them.

The suffix of the name decides which, as in JupyterHub.
"""

from __future__ import annotations

import inspect
import json
import os
import traceback
from itertools import pairwise
from pathlib import Path
from typing import Any

from traitlets.config.loader import Config, PyFileConfigLoader


class ConfigError(Exception):
    """A configuration with which the hub can't start; the text is one line."""


def read_file(path: Path) -> Config:
    """Return the settings of a configuration file.

    Raises ConfigError with the place of the error.
    """
    if path.is_dir():
        raise ConfigError(f"The configuration must be a file; {path} is a directory")
    if not path.exists():
        raise ConfigError(f"Failed to find specified config file: {path}")
    if path.suffix == ".py":
        return _read_python(path)
    if path.suffix == ".json":
        return _read_json(path)
    raise ConfigError(
        f"{path}: the name of a configuration file ends in .py or .json; "
        "nothing else is read"
    )


def _read_python(path: Path) -> Config:
    """Run a file and return its `c`."""
    try:
        return PyFileConfigLoader(path.name, path=str(path.parent)).load_config()
    except SyntaxError as error:
        # The error may be in a file that this one loads or imports.
        place = f"{error.filename or path}, line {error.lineno}"
        raise ConfigError(f"{place}: {error.msg}") from None
    except Exception as error:
        place = _place(error, path)
        raise ConfigError(f"{place}: {_reason(error)}") from error


# The packages of modules that have another name, as far as configurations import them.
PACKAGES = {
    "firstuseauthenticator": "jupyterhub-firstuseauthenticator",
    "kubespawner": "jupyterhub-kubespawner",
    "ldapauthenticator": "jupyterhub-ldapauthenticator",
    "ltiauthenticator": "jupyterhub-ltiauthenticator",
    "nativeauthenticator": "jupyterhub-nativeauthenticator",
    "systemdspawner": "jupyterhub-systemdspawner",
    "tmpauthenticator": "jupyterhub-tmpauthenticator",
    "tljh": "the-littlest-jupyterhub",
    "yaml": "pyyaml",
}


def _reason(error: Exception) -> str:
    """Return what went wrong in a file, and what helps if that is clear."""
    reason = str(error).partition("\n")[0]
    words = f"{type(error).__name__}: {reason}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        module = error.name.partition(".")[0]
        package = PACKAGES.get(module, module)
        return f"{words}; install the package {package!r} where the hub is installed"
    frames = traceback.extract_tb(error.__traceback__)
    # Python's own modules may be frozen, and have no file then.
    is_of_os = frames[-1].filename in (os.__file__, "<frozen os>")
    if isinstance(error, KeyError) and is_of_os:
        return f"the environment has no variable {reason}; set it for the hub as well"
    return words


def _place(error: Exception, path: Path) -> str:
    """Return the innermost line of a configuration file at which an error occurred.

    A file may load others (`load_subconfig`); each is run by the same function.
    """
    frames = traceback.extract_tb(error.__traceback__)
    loader = inspect.getfile(PyFileConfigLoader)
    loaded = {
        inner.filename
        for outer, inner in pairwise(frames)
        if outer.filename == loader and inner.name == "<module>"
    }
    for frame in reversed(frames):
        if frame.filename in loaded:
            return f"{frame.filename}, line {frame.lineno}"
    return str(path)


def _read_json(path: Path) -> Config:
    """Return the sections of an object such as `{"JupyterHub": {"port": 8000}}`."""
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected text in UTF-8") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}, line {error.lineno}: {error.msg}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: expected an object of sections, {_EXAMPLE}")
    # The version number of traitlets' JSON; there is only version 1.
    if found.pop("version", 1) != 1:
        raise ConfigError(f"{path}: only version 1 of traitlets' JSON is known")
    for section, settings in found.items():
        if not section[:1].isupper() or not isinstance(settings, dict):
            raise ConfigError(
                f"{path}: {section!r} is no section with settings; expected {_EXAMPLE}"
            )
    return Config(found)


_EXAMPLE: Any = 'such as {"JupyterHub": {"hub_port": 8081}}'
