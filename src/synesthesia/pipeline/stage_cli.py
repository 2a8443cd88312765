"""Command line that all stages share: load the parameters, run the stage, and report user errors in one sentence."""

from __future__ import annotations

import argparse
import difflib
import errno
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn, TypeVar

from synesthesia import config, tracking
from synesthesia.pipeline import warm_start
from synesthesia.utils import distributed

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130
T = TypeVar("T")


class UnknownItemError(ValueError):
    """Raised if a stage item is not in the parameters."""


def main(
    run: Callable[..., None],
    doc: str | None,
    item_kind: str | None = None,
    *,
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
    is_distributed: bool = False,
    argv: list[str] | None = None,
) -> None:
    """Parse the command line, load the parameters and call `run(config)` or `run(config, item=...)`.

    Errors that the user can fix exit with code 1 and one sentence, without a traceback: those that this project
    defines, and those of the system (full disk, no permission). Programming errors keep their traceback.

    Args:
        run: The stage's function. Its module names the stage.
        doc: The docstring of the stage, shown by --help.
        item_kind: What the positional argument `item` names (model, setting, respondent); None: no such argument.
        add_arguments: Adds further options; `run` receives them by name.
        is_distributed: Whether the stage runs as one process per GPU.
        argv: Arguments; None reads sys.argv.
    """
    name = Path(sys.modules[run.__module__].__file__ or "stage").stem
    parser = argparse.ArgumentParser(
        prog=f"python -m synesthesia.pipeline.{name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if item_kind:
        parser.add_argument("item", metavar=item_kind, help=f"key of the {item_kind} in the parameters")
    parser.add_argument("--params", default="params.yaml", metavar="FILE", help="parameters (default: params.yaml)")
    if add_arguments:
        add_arguments(parser)
    options = vars(parser.parse_args(argv))
    if argv is None and (code := warm_start.run_in_fork(f"synesthesia.pipeline.{name}", sys.argv[1:])) is not None:
        sys.exit(code)
    try:
        if is_distributed and argv is None:
            distributed.relaunch_distributed(f"synesthesia.pipeline.{name}", sys.argv[1:])
        run(config.load(options.pop("params")), **options)
    except KeyboardInterrupt:
        _exit_with_message(
            name, "interrupted; finished parts are kept: run the same command again to continue", EXIT_INTERRUPTED
        )
    except OSError as error:
        _exit_with_message(name, _format_os_error(error), EXIT_FAILED)
    except Exception as error:
        if not type(error).__module__.startswith(("synesthesia.", "__main__")):
            raise
        _exit_with_message(name, str(error), EXIT_FAILED)


def get_item(entries: Mapping[str, T], item: str, kind: str) -> T:
    """Look up the entry that a stage's argument names.

    Args:
        entries: Entries of the parameters by key.
        item: The key.
        kind: What the key names, for the error message.

    Returns:
        The entry.

    Raises:
        UnknownItemError: There is no such key; the message names the closest one or all of them.
    """
    if item not in entries:
        matches = difflib.get_close_matches(item, entries, 1)
        hint = f"did you mean {matches[0]!r}?" if matches else f"available: {', '.join(entries)}"
        raise UnknownItemError(f"no {kind} {item!r} in the parameters; {hint}")
    return entries[item]


def require_record(record: tracking.Record | None) -> tracking.Record:
    """Return the record of a stage that has just written its outputs.

    Args:
        record: What the stage's `build_record` returned.

    Returns:
        The same record.
    """
    assert record is not None, "the stage has not written its outputs"
    return record


def _format_os_error(error: OSError) -> str:
    location = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"the disk is full{location}: free some space and run the same command again; finished parts are kept"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission to read or write{location}: {error.strerror}; fix the permissions and run it again"
    return f"{error.strerror or error}{location}"


def _exit_with_message(stage: str, message: str, code: int) -> NoReturn:
    print(f"{stage}: {message}", file=sys.stderr)
    sys.exit(code)
