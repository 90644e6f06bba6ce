"""From fitted models to prices to the fen."""
