-- Text functions over a masked citext column (Rails, Phoenix).
-- rows: 3
select split_part(email, '@', 2), email || 'x', replace(email, 'a', 'b'), email like '%x' from accounts;
