-- Functions and triggers that leave something in the temporary schema: test_unknown_code.py.
create schema work; set search_path = work, public;
create table work.people (id int primary key, name text, ssn text);
create table work.notes (id int primary key, label text);
create table work.fired (id int);
create table work.late (id int);
create table work.kept (id int primary key);
create table work.referring (id int references work.kept on delete cascade);
insert into work.people values (1, 'Ada', '911-77-0001'), (2, 'Bob', '911-77-0002');
insert into work.notes values (1, 'one'), (2, 'two');
insert into work.kept values (1); insert into work.referring values (1);
create function work.f_leave() returns int language plpgsql as
  'begin create temp table left_by as select id, ssn from work.people; return 1; end';
create function work.f_cover() returns int language plpgsql as
  'begin create temp table notes as select id, ssn as label from work.people; return 1; end';
create function work.f_cover_stable() returns int language plpgsql immutable as
  'begin perform work.f_cover(); return 1; end';
create function work.f_again() returns int language plpgsql as
  'begin drop table if exists pg_temp.mine; create temp table mine as select ssn as a from work.people; return 1; end';
create function work.f_rename() returns int language plpgsql as
  'begin alter table pg_temp.mine rename to notes; return 1; end';
create function work.f_view() returns int language plpgsql as
  'begin create temp view notes as select id, ssn as label from work.people; return 1; end';
create function work.f_type() returns int language plpgsql as
  'begin create type pg_temp.other as (a text); return 1; end';
create function work.f_class() returns int language plpgsql as
  'begin create temp table pg_class as select ssn as relname from work.people; return 1; end';
create function work.f_nothing() returns int language plpgsql as 'begin return 1; end';
create function work.f_helper() returns int language plpgsql as
  'begin create temp table helper as select 1 as n; drop table helper; return 1; end';
create function work.f_fill() returns int language plpgsql as
  'begin insert into pg_temp.mine values (7); return 1; end';
create function work.f_widen() returns int language plpgsql as
  'begin alter table pg_temp.mine add b text default ''wide''; return 1; end';
create function work.f_late() returns int language plpgsql as
  'begin insert into work.late values (1); return 1; end';
create function work.f_drop() returns int language plpgsql as
  'begin drop table if exists pg_temp.notes; return 1; end';
create function work.late_label() returns text language sql stable as 'select max(label) from notes';
create function work.t_cover() returns trigger language plpgsql as
  'begin perform work.f_cover(); return new; end';
create function work.t_gone() returns trigger language plpgsql as
  'begin perform work.f_cover(); return old; end';
create function work.t_again() returns trigger language plpgsql as
  'begin perform work.f_again(); return null; end';
create trigger fires before insert on work.fired for each row execute function work.t_cover();
create constraint trigger fires after insert on work.late deferrable initially deferred
  for each row execute function work.t_again();
create trigger fires before delete on work.referring for each row execute function work.t_gone();
grant usage on schema work to public;
grant select, insert, update, delete on all tables in schema work to public;
