"""People in the loop: requests that bind exactly one statement, decided by others than who
asked.
"""
