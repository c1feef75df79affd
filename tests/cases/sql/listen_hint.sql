-- LISTEN, under a rule that allows it on relations, of which it concerns none.
-- hint: a rule without relations, columns and tags would give it
listen ch;
