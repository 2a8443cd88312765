"""How every stage is started: parameters in, one clear sentence out where something is wrong."""

from __future__ import annotations

import argparse
import difflib
import errno
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from synesthesia import config
from synesthesia.utils import distributed, preload_server

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130
T = TypeVar("T")


def main(
    run: Callable,
    doc: str,
    item_kind: str | None = None,
    *,
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
    is_distributed: bool = False,
    argv: list[str] | None = None,
) -> None:
    """Parse the command line, load the parameters and call `run(params)`, or `run(params, item=...)`.

    `doc` is the stage's docstring and becomes its --help; `item` names a positional argument (a model, a setting);
    `arguments` adds options of the stage's own, which reach `run` by their names; `several` lets it run as one process
    a GPU. Errors that a person can mend (those
    that the project itself defines, and the system's: a full disk, no permission) end with exit code 1 and their
    sentence, without a traceback.
    """
    name = Path(sys.modules[run.__module__].__file__ or "stage").stem
    parser = argparse.ArgumentParser(
        prog=f"python -m synesthesia.pipeline.{name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if item_kind:
        parser.add_argument("item", metavar=item_kind, help=f"which {item_kind}, by its key in the parameters")
    parser.add_argument("--params", default="params.yaml", metavar="FILE", help="parameters (default: params.yaml)")
    if add_arguments:
        add_arguments(parser)
    given = vars(parser.parse_args(argv))
    if argv is None and (code := preload_server.delegate(f"synesthesia.pipeline.{name}", sys.argv[1:])) is not None:
        sys.exit(code)
    try:
        if is_distributed and argv is None:
            distributed.relaunch_distributed(f"synesthesia.pipeline.{name}", sys.argv[1:])
        run(config.load(given.pop("params")), **given)
    except KeyboardInterrupt:
        _exit_with_message(
            name, "stopped; what is finished is kept: run the same command again to go on", EXIT_INTERRUPTED
        )
    except OSError as error:
        _exit_with_message(name, _format_os_error(error), EXIT_FAILED)
    except Exception as error:
        if not type(error).__module__.startswith(("synesthesia.", "__main__")):
            raise  # a fault of the program: the traceback is what helps
        _exit_with_message(name, str(error), EXIT_FAILED)


class UnknownItemError(ValueError):
    """A stage item that the parameters do not have."""


def get_item(entries: Mapping[str, T], item: str, kind: str) -> T:
    """The entry of the parameters that a stage's argument names; raise UnknownItem with the names there are."""
    if item not in entries:
        near = difflib.get_close_matches(item, entries, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(entries)}"
        raise UnknownItemError(f"no {kind} {item!r} in the parameters; {hint}")
    return entries[item]


def _format_os_error(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"the disk is full{where}: free some space and run the same command again; what is finished is kept"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission to write or read{where}: {error.strerror}; mend the permissions and run it again"
    return f"{error.strerror or error}{where}"


def _exit_with_message(stage: str, message: str, code: int) -> None:
    print(f"{stage}: {message}", file=sys.stderr)
    sys.exit(code)
