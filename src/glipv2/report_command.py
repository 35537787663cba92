"""`glipv2 report`: the words of the command."""

from __future__ import annotations

from pathlib import Path

from glipv2.errors import UserError


def report_command(arguments: list[str]) -> None:
    """Writes the page of the runs that the words name; UserError for words that make no sense."""
    if arguments and arguments[0] in ("-h", "--help"):
        print("usage: glipv2 report RUN [RUN …] [output=FILE]   (default: report.html in the first run's folder)")
        print("RUN is a run's folder or a sweep's, of which all trials are shown")
        return
    from glipv2.report.page import write_report

    runs: list[Path] = []
    output: Path | None = None
    for word in arguments:
        key, given, value = word.partition("=")
        if word.startswith("-") or (given and key != "output" and not Path(word).exists()):
            raise UserError(f"report takes folders of runs and output=FILE, but got '{word}'")
        if not given or key != "output":
            runs.append(Path(word))
        elif not value:
            raise UserError("output=: expected a file, but got nothing; as in output=report.html")
        else:
            output = Path(value)
    if not runs:
        raise UserError("expected the folder of a run, but got none; as in glipv2 report runs/demo")
    output = output or runs[0] / "report.html"
    if output.is_dir():
        raise UserError(f"output={output}: expected a file, but this is a folder; try output={output / 'report.html'}")
    print(write_report(runs, output))
