"""The browser study for humans: serve it, look at its plan, export its answers.

Examples:
    python -m synesthesia.human_study                                  # serve on 127.0.0.1:8000; `make study` does the same
    python -m synesthesia.human_study serve --port 8080 --workers 2
    python -m synesthesia.human_study serve --host 0.0.0.0 --https     # behind a reverse proxy that speaks TLS
    python -m synesthesia.human_study plan                             # who judges what, without serving
    python -m synesthesia.human_study export                           # humans/judgements.csv
    python -m synesthesia.human_study pause                            # nobody new; also: open, close

The database is SQLite's file humans/study.sqlite unless --database or SYNESTHESIA_STUDY_DATABASE name another, such as
postgresql+psycopg://user:password@host/study. SYNESTHESIA_ADMIN_PASSWORD is the researcher's password; where it is not
set, one is made and printed at each start.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

from synesthesia import config
from synesthesia.human_study import export
from synesthesia.human_study.db import connection, stored_plan
from synesthesia.human_study.db.sessions import Sessions
from synesthesia.human_study.web import server
from synesthesia.human_study.web.app_state import ServerSettings


def main(argv: list[str] | None = None) -> None:
    """Command line; what a person can mend ends in one sentence and exit code 1."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        argv = ["serve", *argv]
    options = _build_parser().parse_args(argv)
    try:
        options.run(options)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        _exit_with_error(f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else ""))
    except Exception as error:
        if not type(error).__module__.startswith("synesthesia."):
            raise  # a fault of the program: the traceback is what helps
        _exit_with_error(str(error))


def _exit_with_error(message: str) -> None:
    print(f"study: {message}", file=sys.stderr)
    sys.exit(1)


def _build_parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m synesthesia.human_study", description=__doc__, formatter_class=formatter
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--params", default="params.yaml", metavar="FILE", help="parameters (default: params.yaml)")
    common.add_argument("--database", default=connection.default_url(), metavar="URL",
                        help="any SQLAlchemy URL (default: %(default)s)")  # fmt: skip
    common.add_argument("--folder", type=Path, default=Path("humans"), help="for the secret, stimuli and exports "
                        "(default: %(default)s)")  # fmt: skip
    commands = parser.add_subparsers(metavar="command", required=True)
    command = commands.add_parser("serve", parents=[common], help="serve the study (the default)")
    _add_serve_options(command)
    command = commands.add_parser("plan", parents=[common], help="make the plan and stimuli, and print a summary")
    command.set_defaults(run=_print_plan)
    command = commands.add_parser("export", parents=[common], help="write finished judgements to humans/judgements.csv")
    command.add_argument("--simulated", action="store_true", help="of a database of simulated participants, into "
                         "simulated-judgements.csv")  # fmt: skip
    command.set_defaults(run=_export)
    for name, state, what in (("open", "open", "let people in"), ("pause", "paused", "let nobody new in"),
                              ("close", "closed", "end the study: no more answers")):  # fmt: skip
        command = commands.add_parser(name, parents=[common], help=what)
        command.set_defaults(run=_set_state, state=state)
    return parser


def _add_serve_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default: %(default)s, this machine alone)"
    )
    parser.add_argument("--port", type=int, default=8000, help="(default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="server processes (default: %(default)s)")
    parser.add_argument(
        "--https", action="store_true", help="participants come through TLS: cookies are sent over it alone"
    )
    parser.add_argument(
        "--simulated", action="store_true", help="for simulated participants, in a database of their own"
    )
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> None:
    given = config.load(options.params)
    server.require_free_port(options.host, options.port)
    server.prepare_study(given, options.database, options.folder, is_simulated=options.simulated).close()
    settings = ServerSettings(os.path.abspath(options.params), options.database, str(options.folder), options.https)
    server.serve(settings, options.host, options.port, options.workers)


def _print_plan(options: argparse.Namespace) -> None:
    opened = server.prepare_study(config.load(options.params), options.database, options.folder)
    row = stored_plan.load_study(opened)
    labels = Counter(q.label for q in stored_plan.load_questions(opened).values() if q.practice_condition is None)
    opened.close()
    print(f"{row.about}; {row.state}")
    print("labels: " + ", ".join(f"{label} ({clips})" for label, clips in sorted(labels.items())))


def _export(options: argparse.Namespace) -> None:
    opened = connection.Database(options.database)
    path, count = export.write_csv(opened, config.load(options.params).human_study, options.folder, options.simulated)
    opened.close()
    print(f"{count} judgements in {path}")


def _set_state(options: argparse.Namespace) -> None:
    opened = connection.Database(options.database)
    stored_plan.load_study(opened)
    Sessions(opened, config.load(options.params).human_study, stored_plan.load_questions(opened)).set_state(
        options.state
    )
    opened.close()
    print(f"the study is {options.state}")


if __name__ == "__main__":
    main()
