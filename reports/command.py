"""The `harness` command of the installed package, with the verbs and variables of make, for use in any folder.

`harness run EXP=quickstart SEEDS=2` and `harness run quickstart --seeds=2` both do what `make run EXP=quickstart
SEEDS=2` does in the repository.
"""

import os
import re
import sys
from collections.abc import Sequence

from harness.environment import project

_REPORTS = {
    "report": "write",
    "publish": "publish",
    "report-check": "check",
    "compare": "compare",
    "results": "results",
}
"""make's verb → the verb of `python -m reports`."""
_HELP = {
    "report": "write a report from recorded runs",
    "publish": "keep a report with the data it was built from",
    "report-check": "rebuild every published report and compare",
    "compare": "judge results that another program trained",
    "results": "show an experiment's tables",
}
_POSITIONAL = ("EXP", "RUN")
_ENVIRONMENT = ("ALLOW", "UPDATE", "FIGURES", "ROPE")
"""Variables that reports read from the environment; except for ALLOW they are not options of any verb."""
_VARIABLE = re.compile(r"([A-Z][A-Z_]*)=(.*)", re.DOTALL)
HUGE_PAGES = "glibc.malloc.hugetlb=1"
"""For a step's tensors, as the Makefile has it."""
TRAINING = ("run", "plan", "reproduce", "lr-find")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status as defined by `harness.__main__.main`, or 130 if Ctrl-C ended it."""
    try:
        return _main(arguments)
    except KeyboardInterrupt:
        return 130


def _main(arguments: Sequence[str] | None) -> int:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    sys.path.append(str(project()))  # so that models and experiments of the project can be imported
    typed = list(sys.argv[1:] if arguments is None else arguments)
    if not typed or typed[0] in ("help", "--help", "-h"):
        return _help()
    verb, *rest = typed
    if arguments is None and verb in TRAINING:
        _with_huge_pages()
    options = [each for word in rest for each in _option(word, verb)]
    if verb in _REPORTS:
        from reports.__main__ import main as report

        return report([_REPORTS[verb], *options])
    from harness.__main__ import main as harness

    status = harness([verb, *options])
    if verb == "plan" and status == 0:
        return _plan_of(options)
    return _report_of(options, status) if verb == "run" and status in (0, 1) else status


def _with_huge_pages() -> None:
    """Begin this process anew where glibc, which reads its settings only then, has not been given any."""
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "GLIBC_TUNABLES": HUGE_PAGES})


def _option(word: str, verb: str) -> list[str]:
    """Convert one word of the command line to argparse's options; environment variables give none."""
    found = _VARIABLE.fullmatch(word)
    if not found:
        return [word]
    name, value = found.groups()
    if name in _POSITIONAL:
        return [value]
    if name in _ENVIRONMENT:
        os.environ[name] = value
        if name != "ALLOW" or verb != "run":
            return []
    return [f"--{name.lower()}={value}"]


def _report_of(options: Sequence[str], status: int) -> int:
    """Write the report after a run, like `make run`, even if some runs have no result."""
    from harness.__main__ import parser
    from reports.__main__ import main as report

    return report(["write", parser().parse_args(["run", *options]).experiment]) or status


def _plan_of(options: Sequence[str]) -> int:
    """Print what the seeds could show, like `make plan`; with UNTIL= their number is not settled."""
    from harness.__main__ import parser
    from reports.__main__ import main as report

    chosen = parser().parse_args(["plan", *options])
    if chosen.until:
        return 0
    return report(["plan", f"--seeds={chosen.seeds}", f"--variants={chosen.variants}", chosen.experiment])


def _help() -> int:
    from harness.__main__ import parser

    print("harness VERB [NAME=value ...], with the verbs and variables of make, in the working folder.")
    print("Where a message says make, write harness; harness VERB --help shows a verb's options.\n")
    print(parser().format_help())
    print("reports:\n" + "\n".join(f"    {verb:<20}{text}" for verb, text in _HELP.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
