"""Write a folder of results as a whole: it is there complete, or as it was before."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from gossamer.arch.errors import GossamerError


def write_folder(target: Path, write: Callable[[Path], None], *, what: str) -> None:
    """Fill a folder through `write`, which is given a temporary one beside it, renamed at the end.

    What `target` held is removed: the caller has made sure that it may be. Raises GossamerError when it cannot be
    written; `what` names it in the message.
    """
    temporary: Path | None = None
    place = target.resolve()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
        new, old = temporary / "new", temporary / "old"
        new.mkdir()
        write(new)
        if place.exists():
            os.replace(place, old)
        try:
            os.replace(new, place)
        except OSError:
            if old.exists():
                os.replace(old, place)
            raise
    except OSError as error:
        raise GossamerError(
            f"{target}: cannot write the {what} ({error.strerror or error}); name a writable one with -o"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
