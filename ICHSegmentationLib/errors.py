"""What can go wrong in ways a user can mend. Each error is one sentence: what was found and what is wanted."""

from __future__ import annotations

from collections.abc import Mapping


class ICHError(Exception):
    """An error whose message is for the user; the command line prints it and exits with `exit_code`."""

    exit_code = 1


class InputError(ICHError):
    """The scan, or what the user asked for, cannot be used."""

    exit_code = 2


class OutputError(ICHError):
    """The results cannot be written."""

    exit_code = 3


class BundleError(ICHError):
    """The ensemble cannot be loaded, or is not what its manifest says."""

    exit_code = 4


class DeviceError(ICHError):
    """The device asked for is not there, or its memory does not suffice."""

    exit_code = 5


def require_at_least(least: int, wishes: Mapping[str, float]) -> None:
    """Raises an InputError that names the first of the wishes that is smaller."""
    for name, value in wishes.items():
        if value < least:
            raise InputError(f"{name} must be {least} or more; found {value}.")


def sentence(text: str) -> str:
    """A message as it stands alone: with a capital, unless it begins with the name of a file."""
    first = text.split(" ", 1)[0]
    return text[:1].upper() + text[1:] if first.strip(",:;").isalpha() else text


class StoppedError(ICHError):
    """A signal asked to stop before all was done; what was done is kept."""

    exit_code = 130
