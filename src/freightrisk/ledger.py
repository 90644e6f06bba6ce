"""The ledger of campaigns; needs the extra ``ledger``."""

try:
    from freightrisk.pipeline.ledger import Ledger
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error}; a ledger needs pip install 'freightrisk[ledger]'") from None

__all__ = ["Ledger"]
