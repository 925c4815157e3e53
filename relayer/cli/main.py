"""`jobseal …`: one command a process, and the tools of operators and verifiers.

Commands import what they need when they run: `jobseal verify` starts in a moment, and an API process
never loads the chain.
"""

from pathlib import Path
from typing import Annotated

import typer

from relayer.cli.errors import one_line_errors
from relayer.cli.verify import verify

app = typer.Typer(
    name="jobseal",
    help="Long-running jobs over REST, each confirmed at most once on an EVM chain.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(verify)

Home = Annotated[Path, typer.Option(envvar="JOBSEAL_HOME", help="Where the state of the platform lies.")]


@app.command()
@one_line_errors
def api() -> None:
    """Serve the REST API; any number of these may run."""
    import uvicorn  # noqa: PLC0415 - see the module

    from relayer.settings import ApiSettings  # noqa: PLC0415
    from relayer.telemetry import logs  # noqa: PLC0415

    logs.configure("api")
    settings = ApiSettings()
    uvicorn.run(
        "api.app:create_app",
        factory=True,
        http="api.server:ProblemProtocol",
        host=settings.host,
        port=settings.port,
        workers=settings.processes,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # JOBSEAL_API_TRUSTED_PROXIES says whom to believe
        timeout_graceful_shutdown=10,
        h11_max_incomplete_event_size=4
        * settings.max_header_bytes,  # the API refuses what is too large by itself
    )


@app.command()
@one_line_errors
def worker() -> None:
    """Run jobs; any number of these may run, on any machines."""
    from relayer.jobs.pool import run_pool  # noqa: PLC0415
    from relayer.settings import WorkerSettings  # noqa: PLC0415
    from relayer.telemetry import logs  # noqa: PLC0415

    logs.configure("worker")
    run_pool(WorkerSettings())


@app.command()
@one_line_errors
def relayer(
    only: Annotated[
        list[str] | None, typer.Option(help="Run this loop instead of all; may be given more than once.")
    ] = None,
) -> None:
    """Run the loops that dispatch, watch, confirm and index. Run two or more of these."""
    import uvloop  # noqa: PLC0415

    from relayer import app as root  # noqa: PLC0415
    from relayer.telemetry import logs  # noqa: PLC0415

    names = set(only or root.LOOPS)
    if not names.issubset(root.LOOPS):
        raise typer.BadParameter(f"no such loop; choose of {', '.join(root.LOOPS)}", param_hint="--only")
    logs.configure("relayer")
    uvloop.run(root.run_relayer(names))


@app.command()
@one_line_errors
def up(home: Home = Path(".jobseal")) -> None:
    """Start the whole platform on this machine and stay; Ctrl-C stops all of it."""
    from relayer.cli.up import run_up  # noqa: PLC0415

    run_up(home)


@app.command()
@one_line_errors
def demo(
    home: Home = Path(".jobseal"),
    folder: Annotated[
        Path | None,
        typer.Option(
            "--input", help="A folder whose files become jobs; default: this project's own sources."
        ),
    ] = None,
) -> None:
    """Start the platform, run real files through it, verify every receipt, and stop it."""
    from relayer.cli.demo import run_demo  # noqa: PLC0415

    run_demo(home, folder)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def admin(context: typer.Context) -> None:
    """Administer tenants, keys, the audit log and the schema."""
    from relayer.cli.admin.app import app as tree  # noqa: PLC0415 - see the module

    tree(context.args, prog_name="jobseal admin")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
