"""The database roles: owner (migrations), API (bound by row-level security), relayer and admin (cross tenants)."""

from dataclasses import dataclass

import psycopg
from psycopg import sql

OWNER = "jobseal_owner"
API = "jobseal_api"
RELAYER = "jobseal_relayer"
ADMIN = "jobseal_admin"


@dataclass(frozen=True)
class Passwords:
    """The password of each role."""

    owner: str
    api: str
    relayer: str
    admin: str


def prepare_database(admin_url: str, database: str, passwords: Passwords) -> None:
    """Make the four roles and a database of the owner's; whatever is there already stays.

    `docs/operate.md` gives the same as SQL for a server that an operator keeps.
    """
    with psycopg.connect(admin_url, autocommit=True) as connection:
        for role, password in (
            (OWNER, passwords.owner),
            (API, passwords.api),
            (RELAYER, passwords.relayer),
            (ADMIN, passwords.admin),
        ):
            known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
            verb = sql.SQL("ALTER" if known else "CREATE")
            connection.execute(
                sql.SQL(
                    "{} ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD {}"
                ).format(verb, sql.Identifier(role), sql.Literal(password))
            )
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(OWNER))
            )
        connection.execute(
            sql.SQL("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database))
        )
        connection.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}, {}, {}").format(
                sql.Identifier(database), sql.Identifier(API), sql.Identifier(RELAYER), sql.Identifier(ADMIN)
            )
        )
