"""The order book: rating factors coded, claims joined."""
