-- As many parameters in one list; the list is filled in by the test.
-- rows: 1
select count(*) from orders where id in (:list);
