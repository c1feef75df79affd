"""The console and the REST interface: thin. They call :mod:`sallyport.operations` and know nothing
of sockets to databases.
"""
