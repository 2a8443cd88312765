"""The `synesthesia` command: one entry point for everything that is not a DVC stage.

Examples:
  synesthesia check                             check params.yaml and every preset
  synesthesia preset use paper                  copy params/paper.yaml to params.yaml
  synesthesia plan paper                        print the stages of the paper preset
  synesthesia log                               log outputs to MLflow that it does not have yet
  synesthesia thresholds                        fail if a metric of the report is below its threshold
  synesthesia human-study serve --port 8080     serve the browser study
  synesthesia human-study export                write humans/responses.csv
  synesthesia generate --out data               generate the synthetic clips of the embedded study
  synesthesia verify-store out/curate/store     check every shard of a store against its SHA-256
  synesthesia pretrain all --out weights        train the tiny models of the embedded study

Stages run as `python -m synesthesia.pipeline.<stage>`, or all of them with `make`.
"""

from __future__ import annotations

import argparse
import importlib
import sys

# Command -> module whose main() parses all further arguments, and help text. Imported on use: some need torch.
FORWARDED_COMMANDS = {
    "thresholds": ("synesthesia.analysis.thresholds", "fail if a metric of the report is below its threshold"),
    "human-study": ("synesthesia.human_study.__main__", "the browser study: serve, plan, export, open, pause, close"),
    "generate": ("synesthesia.synthetic.generate", "generate the synthetic clips of the embedded study"),
    "verify-store": ("synesthesia.data.store.__main__", "check every shard of a store against its SHA-256"),
    "pretrain": ("synesthesia.synthetic.pretraining.__main__", "train the tiny models of the embedded study"),
}


def main(argv: list[str] | None = None) -> None:
    """Run the command line.

    Args:
        argv: Arguments; None reads sys.argv.

    Raises:
        SystemExit: The command failed or --help was given.
    """
    parser = build_parser()
    options, other_args = parser.parse_known_args(argv)
    if options.command in FORWARDED_COMMANDS:
        _forward(options.command, other_args)
        return
    if other_args:
        parser.error(f"unrecognized arguments: {' '.join(other_args)}")
    if options.command == "log":
        from synesthesia.pipeline import log_runs

        log_runs.main()
        return
    from synesthesia.pipeline import presets

    if options.command == "preset":
        presets.main(["use", options.name, *(["--force"] if options.force else [])])
    elif options.command == "plan":
        presets.main(["plan", *([options.name] if options.name else [])])
    else:
        presets.main(["check"])


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands.

    Returns:
        The parser. Arguments of FORWARDED_COMMANDS remain unparsed.
    """
    parser = argparse.ArgumentParser(
        prog="synesthesia", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("check", help="check params.yaml and every preset")
    preset = commands.add_parser("preset", help="select the preset in params.yaml")
    actions = preset.add_subparsers(dest="action", required=True, metavar="ACTION")
    use = actions.add_parser("use", help="copy params/NAME.yaml to params.yaml")
    use.add_argument("name", metavar="NAME")
    use.add_argument("--force", action="store_true", help="overwrite edits in params.yaml")
    plan = commands.add_parser("plan", help="print the stages that `make` would run; changes nothing")
    plan.add_argument("name", metavar="NAME", nargs="?", help="preset (default: params.yaml)")
    commands.add_parser("log", help="log outputs to MLflow that it does not have yet")
    for name, (_, text) in FORWARDED_COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    return parser


def _forward(command: str, args: list[str]) -> None:
    """Run the main() of a module as if it were started with these arguments."""
    module = importlib.import_module(FORWARDED_COMMANDS[command][0])
    sys.argv = [f"synesthesia {command}", *args]
    exit_code = module.main()
    if exit_code:
        sys.exit(exit_code)


if __name__ == "__main__":
    main()
