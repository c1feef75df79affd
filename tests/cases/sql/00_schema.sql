-- What all cases read.
create table users (
  id int primary key generated always as identity, email text unique not null, phone text, name text, country text,
  tags text[] default '{}', created_at timestamptz default now()
);
create table orders (
  id serial primary key, user_id int references users (id), status text, total numeric(12, 2), placed_at timestamptz, items jsonb
);
create table order_items (order_id int references orders (id), product_id int, qty int, primary key (order_id, product_id));
create extension citext;
create table accounts (id int primary key, email citext);
insert into users (email, phone, name, country)
  select 'user' || i || '@example.com', '+1555' || lpad(i::text, 7, '0'), 'Name ' || i, 'DE' from generate_series(1, 50) i;
insert into orders (user_id, status, total, placed_at, items) select 1 + i % 50, 'paid', i, now(), '[]' from generate_series(1, 200) i;
insert into accounts select i, 'user' || i || '@example.com' from generate_series(1, 3) i;
comment on table users is 'people who buy';
grant usage on schema public to sallyport_agent;
grant select on all tables in schema public to sallyport_agent;
