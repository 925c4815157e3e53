"""The tree of `jobseal admin …`."""

import typer

from relayer.cli.admin import (
    audit,
    chain,
    database,
    keys,
    kind_caps,
    kind_lanes,
    mix,
    reconciliation,
    tenants,
)

app = typer.Typer(
    name="admin",
    help="What the platform's operator does. Talks to the database by JOBSEAL_ADMIN_DATABASE_URL; every change is audited.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(tenants.app, name="tenant")
app.add_typer(keys.app, name="key")
app.add_typer(kind_caps.app, name="kind-cap")
app.add_typer(kind_lanes.app, name="kind-lane")
app.add_typer(audit.app, name="audit")
app.add_typer(chain.app, name="chain")
app.command()(keys.bootstrap)
app.command()(database.migrate)
app.command()(database.register)
app.command()(reconciliation.reconcile)
app.command()(reconciliation.thaw)
app.command()(reconciliation.rebuild)
app.command()(mix.export_mix)
