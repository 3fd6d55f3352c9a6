"""Options of executors: the fields of an executor's dataclass, at the command line and in a chapter alike."""

import argparse
import shlex
from collections.abc import Callable, Mapping
from dataclasses import Field, field, fields, is_dataclass
from typing import Any


def option(default: Any, help: str) -> Any:
    """A field that is set at the command line: `partition: str = option("", "..")` is `--partition`.

    Args:
        default: its type is the option's; of a tuple the option is repeated, of False it is a switch.
    """
    return field(default=default, metadata={"help": help})


def options_of(executor: Callable[..., Any]) -> dict[str, Field]:
    """The options that an executor takes, by name."""
    if not is_dataclass(executor):
        return {}
    return {item.name: item for item in fields(executor) if "help" in item.metadata}


def flag(name: str) -> str:
    """An option as it is written at the command line."""
    return "--" + name.replace("_", "-")


def add_options(parser: argparse.ArgumentParser, executors: Mapping[str, Callable[..., Any]]) -> None:
    """Every option of every executor, once; those that are not given do not appear in what is parsed."""
    for name, (item, owners) in _all(executors).items():
        kind = type(item.default)
        how: dict[str, Any] = {"action": "store_true"} if kind is bool else {"type": kind, "metavar": kind.__name__.upper()}
        if kind is tuple:
            how = {"action": "append", "metavar": "NAME=VALUE"}
        shown = "" if item.default in ("", (), False) else f" (default: {item.default})"
        parser.add_argument(flag(name), default=argparse.SUPPRESS, help=f"{' and '.join(owners)}: {item.metadata['help']}{shown}", **how)


def given(args: argparse.Namespace, executors: Mapping[str, Callable[..., Any]]) -> dict[str, Any]:
    """The options of executors among what was parsed."""
    return {name: getattr(args, name) for name in _all(executors) if hasattr(args, name)}


def parse(words: str, executors: Mapping[str, Callable[..., Any]]) -> dict[str, Any]:
    """Options from one line, as at the command line: "--partition gpu --gpus 8".

    Raises:
        ValueError: one is unknown, or its value is of another type.
    """
    parser = argparse.ArgumentParser(prog="executor options", add_help=False, exit_on_error=False, allow_abbrev=False)
    add_options(parser, executors)
    try:
        args, left = parser.parse_known_args(shlex.split(words))
    except (argparse.ArgumentError, ValueError) as error:       # ValueError: a quote that is not closed
        raise ValueError(f"executor options {words!r}: {error}") from error
    if left:
        raise ValueError(f"executor options {words!r}: unknown {left[0]!r}; known are {', '.join(map(flag, _all(executors)))}")
    return given(args, executors)


def make(name: str, executors: Mapping[str, Callable[..., Any]], jobs: int | None, options: Mapping[str, Any]) -> Any:
    """The executor of a name.

    Raises:
        ValueError: no executor has the name, it has no such option, or a value does not suit it.
    """
    if name not in executors:
        raise ValueError(f"unknown executor {name!r}: known are {', '.join(executors)}")
    known = options_of(executors[name])
    if unknown := [given for given in options if given not in known]:
        takes = f"it takes {', '.join(map(flag, known))}" if known else "it has no options"
        raise ValueError(f"{flag(unknown[0])} is no option of executor {name!r}: {takes}")
    values = {given: tuple(value) if isinstance(known[given].default, tuple) else value for given, value in options.items()}
    return executors[name](jobs, **values)


def _all(executors: Mapping[str, Callable[..., Any]]) -> dict[str, tuple[Field, list[str]]]:
    """Each option with the executors that have it."""
    found: dict[str, tuple[Field, list[str]]] = {}
    for executor, kind in executors.items():
        for name, item in options_of(kind).items():
            found.setdefault(name, (item, []))[1].append(executor)
    return found
