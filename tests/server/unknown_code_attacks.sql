-- One attack a line, ";;" between its statements: test_unknown_code.py.
select work.f_leave() ;; create temp table mine (a int) ;; select ssn from left_by
create temp table mine (a int) ;; select work.f_leave() ;; create temp table more (a int) ;; select ssn from left_by
create temp table mine (a int) ;; select work.f_leave() ;; select ssn from pg_temp.left_by
create temp table mine as select work.f_leave() ;; select ssn from left_by
select work.f_leave() into temp mine ;; table left_by
create temp table mine (a int default work.f_leave()) ;; insert into mine default values ;; table left_by
create temp table mine (a int) ;; alter table mine add b int default work.f_leave() ;; table left_by
create temp table mine (a int) ;; insert into mine select work.f_leave() ;; copy left_by to stdout
create temp table mine (a int) ;; select work.f_leave() ;; insert into mine select 1 ;; create table pg_temp.x as table left_by ;; table x
prepare q as select work.f_leave() ;; create temp table mine (a int) ;; execute q ;; table left_by
create temp table mine (a int) ;; explain analyze select work.f_leave() ;; table left_by
select work.f_cover() ;; select label || '' from notes
select work.f_cover_stable() ;; select label || '' from notes
explain select work.f_cover_stable() ;; select label || '' from notes
select work.f_view() ;; select label || '' from notes
select work.f_cover() ;; select label from notes
select work.f_cover() ;; select n from notes n
select work.f_cover() ;; select to_jsonb(n) from notes n
select work.f_cover() ;; copy (select upper(label) from notes) to stdout
select work.f_cover() ;; copy notes to stdout
select work.f_cover() ;; create temp table mine as select label from notes ;; table mine
select work.f_cover() ;; insert into work.fired select length(label) from notes returning id
select work.f_cover() ;; select upper(label) from notes where id = 1
select work.f_cover() ;; select (null::notes).label, (select label || '' from notes limit 1)
select work.f_cover() ;; select work.late_label()
select work.f_cover(), work.late_label()
select work.f_cover() ;; with w as (select label || '' as l from notes) select l from w
select work.f_cover() ;; update notes set label = label || '' returning label || ''
select work.f_cover() ;; delete from notes returning label || ''
select work.f_cover() ;; create temp table mine (a int) ;; select label || '' from notes
select work.f_cover() ;; create temp table mine (a int) ;; table pg_temp.notes
select work.f_class() ;; select relname || '' from pg_class
prepare q as select label || '' from notes ;; select work.f_cover() ;; execute q
prepare q as select work.f_cover() ;; execute q ;; select label || '' from notes
insert into fired values (1) ;; select label || '' from notes
insert into fired select 1 returning id ;; select label || '' from notes
delete from kept ;; select label || '' from notes
with w as (insert into fired values (1) returning id) select id from w ;; select label || '' from notes
copy (select work.f_cover()) to stdout ;; select label || '' from notes
declare c cursor for select work.f_cover() ;; fetch c ;; select label || '' from notes
declare c cursor with hold for select work.f_cover() ;; fetch c ;; select label || '' from notes
create temp table mine (a text) ;; select work.f_again() ;; select a || '' from mine
create temp table mine (a text) ;; select work.f_again() ;; create temp table o (a int) ;; table mine
create temp table mine (a text) ;; insert into late values (1) ;; select a from mine
insert into late values (1) ;; create temp table mine (a text) ;; select a from mine
insert into late values (1) ;; create temp table mine (a text) ;; set constraints all immediate ;; select a from mine
create temp table mine as select work.f_late() as a ;; select a from mine
create temp table mine as select work.f_late() as a ;; create temp table more (a int) ;; select a || '' from mine
create temp table if not exists mine as select work.f_again() ;; table mine
create temp table mine (a text) ;; begin ;; select work.f_again() ;; savepoint s ;; drop table if exists mine ;; rollback to s ;; table mine
begin ;; select work.f_cover() ;; savepoint s ;; select work.f_drop() ;; rollback to s ;; select label || '' from notes
select work.f_type() ;; select null::other
