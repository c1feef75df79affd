-- LISTEN, under a rule that allows it on relations, which it never has.
-- hint: Ask for a rule without relations, columns and tags
listen ch;
