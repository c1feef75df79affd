"""Eight families of everyday reporting SQL, run through the gateway: how many are refused, and with
which code.
"""
