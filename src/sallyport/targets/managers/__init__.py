"""Secret managers: Vault and OpenBao, AWS, Google Cloud, Azure. Each module makes sources
(:mod:`sallyport.targets.secret_source`); those of cloud providers need an extra of the package.
"""
