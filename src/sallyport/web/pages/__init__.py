"""The pages, one module each. Handlers only: what they do is in :mod:`sallyport.operations`."""
