-- A write-ahead log: readers see what was committed when they began, and a checkpoint brings all into the database.
pragma journal_mode = wal;
create table item(id integer primary key, name text);
begin; with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000) insert into item select i, 'item ' || i from n; commit;
begin; delete from item; select count(*) from item; rollback;
select count(*), sum(id) from item;
.connection 1
.open file:t.db?vfs=unix-excl
begin; select count(*) from item;
.connection 0
delete from item where id > 4000; select count(*) from item;
.connection 1
select count(*) from item; commit; select count(*) from item;
insert into item values(0, 'from the other');
.connection 0
pragma wal_checkpoint(passive);
select name from item where id = 0;
pragma integrity_check;
pragma wal_checkpoint(truncate);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000) insert into item select i + 10000, zeroblob(500) from n;
pragma wal_checkpoint(full);
select count(*), sum(length(name)) from item;
.connection close 1
pragma journal_mode = delete;
pragma integrity_check; pragma page_count;
