"""The composition root: the only place where the parts are wired together, from the configuration
to what each of them is given.

:func:`~sallyport.app.serve.serve` runs a gateway until it is told to stop;
:func:`~sallyport.app.gateway.gateway_running` runs one for as long as a block. Nothing below
sees the configuration's file.
"""
