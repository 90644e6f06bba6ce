"""Documents of fitted models: load and parse; `FittedModel.save` writes them."""

from pathlib import Path

from freightrisk.models.fitted import FittedModel
from freightrisk.models.model_document import SEAL, fields_of


def load_model(path: str | Path) -> FittedModel:
    """Return the fitted model of a document written by `FittedModel.save`; its numbers are the same to the last bit.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    FittedModel

    Raises
    ------
    ModelDocumentError
        If the file is truncated, is not a model document of this version, or contradicts itself.

    Examples
    --------
    ``frequency.save("frequency.json")``, and in another process ``fr.load_model("frequency.json").predict(orders)``
    """
    data, source = SEAL.file(path)
    return parse_model(data, source=source)


def parse_model(data: bytes, *, source: str = "model document") -> FittedModel:
    """Return the fitted model of a document's bytes."""
    return FittedModel(**fields_of(data, source=source))
