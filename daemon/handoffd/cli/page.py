"""`handoffd page`: a link to the running daemon's status page, good for one browser.

It owns the words around the link. The rule that must stay true: the code in a link is printed and nothing else: no
program is started with it, for other users can read a command line.
"""

from pathlib import Path

import typer

from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.operator import ask
from handoffd.cli.picture import print_json
from handoffd.cli.root import CONFIG, JSON, ROOT, opened

_NO_LISTENER = (
    "nothing that is listened on serves the page: add {address: 127.0.0.1, port: 8787} to `listen`, or "
    "`page: {serve: everywhere}`"
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("page")(page)


def page(as_json: bool = JSON, config: Path | None = CONFIG, root: Path | None = ROOT) -> None:
    """Print a link to the status page: it opens once, within five minutes, and lasts twelve hours in that browser."""
    with opened(config, root) as ground:
        told = ask(ground.path, "POST", "/operator/page", {})
    if not told["near"] and not told["far"]:
        raise Failure(_NO_LISTENER, ExitCode.USAGE)
    near, far = ([f"{url}/page/#enter={told['code']}" for url in told[where]] for where in ("near", "far"))
    if as_json:
        print_json({"near": near, "far": far, "within_s": told["within_s"]})
        return
    for link in near:
        typer.echo(link)
    for link in far:
        typer.echo(f"{link}   from other machines; the browser will ask about the certificate")
