"""A small synthetic click log, so that examples and tests need no data."""

from importlib.resources import as_file, files

from embedkit.encoders.record.files import Clicks, read_clicks


def sample_clicks() -> Clicks:
    """200 clicks on ten things to eat and drink: user, item, tags (several, parted by "|"), hour, device and price.

    Labels were drawn from a model of two hidden dimensions for users and items, the price and the device.

    Raises:
        MissingExtraError: pandas is not installed.

    Example:
        >>> sample_clicks().labels.shape
        (200,)
    """
    with as_file(files(__package__) / "sample_clicks.csv") as path:
        return read_clicks(path)
