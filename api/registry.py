"""The registry that this API takes jobs for, looked up when it is first needed."""

from relayer.model.errors import UnavailableError
from relayer.settings import RegistrySettings
from relayer.store import registries
from relayer.store.database import Database
from relayer.store.registries import RegistryRow


class RegistrySource:
    """Finds the configured registry in the database, and keeps it: a registered row never changes."""

    def __init__(self, db: Database, settings: RegistrySettings) -> None:
        self._db = db
        self._settings = settings
        self._row: RegistryRow | None = None

    async def __call__(self) -> RegistryRow:
        """Give the registry.

        Raises:
            UnavailableError: the database is away, or does not know the registry yet.

        """
        if self._row is None:
            async with self._db.transaction() as conn:
                self._row = await registries.find(conn, self._settings.chain_id, self._settings.address_bytes)
        if self._row is None:
            raise UnavailableError(
                f"the registry {self._settings.address} on chain {self._settings.chain_id} is not registered; "
                "register it as the owner of the database"
            )
        return self._row
