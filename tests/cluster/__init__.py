"""Several gateways with one store."""
