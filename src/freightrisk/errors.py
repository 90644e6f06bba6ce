"""The errors and the warning that freightrisk raises.

Their messages show values of the caller's data, which others may have written. So every message is made of signs that a
terminal prints, whoever raises it.
"""

from freightrisk._shown import shown


def _printable(message: object) -> object:
    return shown(message) if isinstance(message, str) else message


class FreightRiskError(ValueError):
    """Base of every error that freightrisk raises on purpose."""

    def __init__(self, *message: object) -> None:
        super().__init__(*map(_printable, message))


class InputError(FreightRiskError):
    """An argument, a column or a row was refused before any work was done."""


class FitError(FreightRiskError):
    """A model cannot be estimated from the rows it was given, or did not converge."""


class TariffDocumentError(FreightRiskError):
    """A tariff document is damaged, of another schema, or contradicts itself."""


class FreightRiskWarning(UserWarning):
    """Something worth a look that does not stop the work."""

    def __init__(self, *message: object) -> None:
        super().__init__(*map(_printable, message))


class LedgerError(FreightRiskError):
    """A ledger does not agree with what it is asked to record."""
