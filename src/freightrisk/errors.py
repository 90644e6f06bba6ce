"""The errors and the warning that freightrisk raises."""


class FreightRiskError(ValueError):
    """Base of every error that freightrisk raises on purpose."""


class InputError(FreightRiskError):
    """An argument, a column or a row was refused before any work was done."""


class FitError(FreightRiskError):
    """A model cannot be estimated from the rows it was given, or did not converge."""


class TariffDocumentError(FreightRiskError):
    """A tariff document is damaged, of another schema, or contradicts itself."""


class FreightRiskWarning(UserWarning):
    """Something worth a look that does not stop the work."""


class LedgerError(FreightRiskError):
    """A ledger does not agree with what it is asked to record."""
