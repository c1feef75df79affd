"""SELECT and everything in FROM."""
