"""The errors and the warning that freightrisk raises.

Messages show values of the caller's data, which other people may have written. Every message therefore has its control
characters escaped.
"""

from freightrisk._shown import shown


def _printable(message: object) -> object:
    return shown(message) if isinstance(message, str) else message


class FreightRiskError(ValueError):
    """Base of every error that freightrisk raises on purpose."""

    def __init__(self, *message: object) -> None:
        super().__init__(*map(_printable, message))


class InputError(FreightRiskError):
    """An argument, a column or a row is refused before any work is done."""


class FitError(FreightRiskError):
    """A model cannot be estimated from the given rows, or did not converge."""


class TariffDocumentError(FreightRiskError):
    """A tariff document is damaged, has another schema, or contradicts itself."""


class ModelDocumentError(FreightRiskError):
    """A document of a fitted model is damaged, has another schema, or contradicts itself."""


class FreightRiskWarning(UserWarning):
    """Something deserves a look but does not stop the work."""

    def __init__(self, *message: object) -> None:
        super().__init__(*map(_printable, message))


class LedgerError(FreightRiskError):
    """A ledger cannot be used, or contradicts the batch, campaign or order given to it."""
