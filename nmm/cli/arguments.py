"""Values at the command line that more than one command takes."""

import argparse
from pathlib import Path


def path(text: str) -> Path:
    """A file or folder. The empty path would be the folder that the command is called in."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} names no file or folder")
    return Path(text)


def folder_name(text: str) -> str:
    """The name of a folder within another."""
    if not text.strip(". ") or set(text) & set("/\\\0"):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a folder: take letters, digits, - and _")
    return text


def output(text: str) -> Path:
    """A file to be written when all is done: what could not be written is refused before."""
    file = path(text)
    if file.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder: name a file")
    if not file.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(file.parent)!r} to write {file.name!r} to: make it first")
    return file
