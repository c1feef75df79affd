"""OpenID Connect: discovery, keys, JWTs, clients, providers' presets."""
