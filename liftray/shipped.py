"""Files that the package ships: configs and jobs, in the wheel or in the checkout.

Invariant: a name under `configs/` means the same file in every working directory. Used by cli and `liftray.api`.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def directory(in_wheel: str, in_checkout: str) -> Path:
    """A shipped directory: that of the wheel, else that of the checkout around this package.

    Args:
        in_wheel: Its name inside the package.
        in_checkout: Its name in the checkout.
    """
    packaged = _PACKAGE / in_wheel
    return packaged if packaged.is_dir() else _PACKAGE.parent / in_checkout


def config_file(name: str) -> str:
    """The config file of a name: the file itself where it exists, else the shipped file of that name.

    Args:
        name: A path, such as `configs/quickstart.yaml`.
    """
    parts = Path(name).parts
    if not Path(name).exists() and parts and parts[0] == "configs" and ".." not in parts:
        packaged = directory("_configs", "configs").joinpath(*parts[1:])
        return str(packaged) if packaged.is_file() else name
    return name
