"""SAML 2.0 as a service provider: Web Browser SSO (SAML profiles, section 4.1), POST responses,
redirect and POST requests.

Needs the extra ``sallyport[saml]`` (lxml, signxml); nothing outside this package imports it before
a provider is configured.
"""
