"""Browser study for human participants: serve it, print its plan, export its responses.

Examples:
    synesthesia human-study                                # serve on 127.0.0.1:8000, as `make human-study` does
    synesthesia human-study serve --port 8080 --workers 2
    synesthesia human-study serve --host 0.0.0.0 --https   # behind a reverse proxy with TLS
    synesthesia human-study plan                           # create and print the plan without serving
    synesthesia human-study export                         # write humans/responses.csv
    synesthesia human-study pause                          # nobody new can join; also: open, close

`python -m synesthesia.human_study` does the same.

The database is the SQLite file humans/human_study.sqlite unless --database or SYNESTHESIA_HUMAN_STUDY_DATABASE names
another, for example postgresql+psycopg://user:password@host/study. SYNESTHESIA_ADMIN_PASSWORD is the researcher's
password; if unset, each start generates and prints one.
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
    """Run the command line; user errors print one line and exit with code 1.

    Args:
        argv: Arguments; those of the process by default. Without a command, `serve`.
    """
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
            raise  # a bug: print the traceback
        _exit_with_error(str(error))


def _exit_with_error(message: str) -> None:
    print(f"human_study: {message}", file=sys.stderr)
    sys.exit(1)


def _build_parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="synesthesia human-study", description=__doc__, formatter_class=formatter)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--params", default="params.yaml", metavar="FILE", help="parameters (default: params.yaml)")
    common.add_argument("--database", default=connection.default_url(), metavar="URL",
                        help="SQLAlchemy URL (default: %(default)s)")  # fmt: skip
    common.add_argument("--folder", type=Path, default=Path("humans"),
                        help="folder of the secret, stimuli, and exports (default: %(default)s)")  # fmt: skip
    commands = parser.add_subparsers(metavar="command", required=True)
    command = commands.add_parser("serve", parents=[common], help="serve the study (the default command)")
    _add_serve_options(command)
    command = commands.add_parser("plan", parents=[common], help="create plan and stimuli, and print a summary")
    command.set_defaults(run=_print_plan)
    command = commands.add_parser("export", parents=[common], help="write completed trials to humans/responses.csv")
    command.add_argument("--simulated", action="store_true",
                         help="export simulated participants, to simulated-responses.csv")  # fmt: skip
    command.set_defaults(run=_export)
    for name, state, text in (("open", "open", "let participants join"), ("pause", "paused", "let nobody new join"),
                              ("close", "closed", "end the study: accept no more answers")):  # fmt: skip
        command = commands.add_parser(name, parents=[common], help=text)
        command.set_defaults(run=_set_state, state=state)
    return parser


def _add_serve_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1",
                        help="address to listen on (default: %(default)s, this machine only)")  # fmt: skip
    parser.add_argument("--port", type=int, default=8000, help="(default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="server processes (default: %(default)s)")
    parser.add_argument("--https", action="store_true",
                        help="participants connect through TLS: send cookies over TLS only")  # fmt: skip
    parser.add_argument("--simulated", action="store_true",
                        help="serve simulated participants, in a database of their own")  # fmt: skip
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> None:
    pipeline_config = config.load(options.params)
    server.require_free_port(options.host, options.port)
    server.prepare_study(pipeline_config, options.database, options.folder, is_simulated=options.simulated).close()
    settings = ServerSettings(os.path.abspath(options.params), options.database, str(options.folder), options.https)
    server.serve(settings, options.host, options.port, options.workers)


def _print_plan(options: argparse.Namespace) -> None:
    database = server.prepare_study(config.load(options.params), options.database, options.folder)
    study, questions = stored_plan.load_study(database), stored_plan.load_questions(database)
    database.close()
    n_clips = Counter(q.label for q in questions.values() if q.practice_condition is None)
    print(f"{study.description}; {study.state}")
    print("labels: " + ", ".join(f"{label} ({n})" for label, n in sorted(n_clips.items())))


def _export(options: argparse.Namespace) -> None:
    study_config = config.load(options.params).human_study
    database = connection.Database(options.database)
    path, n_responses = export.write_csv(database, study_config, options.folder, options.simulated)
    database.close()
    print(f"{n_responses} responses in {path}")


def _set_state(options: argparse.Namespace) -> None:
    study_config = config.load(options.params).human_study
    database = connection.Database(options.database)
    stored_plan.load_study(database)
    Sessions(database, study_config, stored_plan.load_questions(database)).set_state(options.state)
    database.close()
    print(f"the study is {options.state}")


if __name__ == "__main__":
    main()
