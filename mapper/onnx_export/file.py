"""Write an ONNX file that appears under its name only when it is whole."""

import os
import tempfile
from pathlib import Path
from typing import Any

from gossamer.arch.errors import ModelError


def write_model(model: Any, path: Path) -> None:
    """Write the model under a temporary name beside its own, then rename."""
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
            temporary = Path(stream.name)
            stream.write(model.SerializeToString())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise ModelError(f"{path}: cannot be written: {error.strerror or error}; choose another output") from error
    except ValueError as error:  # protobuf's limit of 2 GB
        raise ModelError(f"{path}: the pruned model cannot be saved as one ONNX file: {error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
