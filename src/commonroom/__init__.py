"""Common Room: the exchange through which a country's education organisations share data."""
