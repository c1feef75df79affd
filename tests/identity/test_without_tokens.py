"""What recordings keep of a token in a refused statement."""

from __future__ import annotations

import time

from sallyport.core.secret import without_tokens
from sallyport.demo.issuer import DevIssuer
from sallyport.identity import session_tokens


def test_jwts_lose_their_signature_and_session_tokens_everything() -> None:
    with DevIssuer() as issuer:
        jwt = issuer.token("dana-dba").reveal()
    head, _, signature = jwt.rpartition(".")
    made = session_tokens.PREFIX + "a1B2" * (session_tokens._LENGTH // 4)
    text = f"DO $$ SET x = '{jwt}' $$; -- {made}, {made}"
    kept = without_tokens(text)
    assert kept == text.replace(signature, "[not recorded]").replace(made, "spt_[not recorded]")
    assert head in kept, "whose it was"


def test_what_is_no_token_stays() -> None:
    for text in ("", "SELECT 1", "eyJ", "spt_short", "a.b.c", "eyJhbGciOi.x.y", "spt_table.id"):
        assert without_tokens(text) == text


def test_a_long_text_costs_no_more_than_its_length() -> None:
    began = time.process_time()
    for piece in ("eyJ", "eyJabcdefgh.", "eyJabcdefgh.ab.", "spt_"):
        long = piece * (1_000_000 // len(piece))
        assert without_tokens(long) == long
    assert time.process_time() - began < 5
