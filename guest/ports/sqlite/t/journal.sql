-- Transactions: what is taken back is gone, what is kept stays, whatever the journal is.
create table account(id integer primary key, owner text, cents integer check(cents >= 0));
with recursive n(i) as (select 1 union all select i + 1 from n where i < 500) insert into account select i, 'owner ' || i, 10000 from n;

pragma journal_mode = delete;
begin; update account set cents = cents - 100 where id % 2; update account set cents = cents + 100 where id % 2 = 0; commit;
begin; delete from account where id > 250; select count(*) from account; rollback;
select count(*), sum(cents), max(cents) from account;

pragma journal_mode = truncate;
begin immediate; update account set cents = cents * 2; savepoint one; delete from account; savepoint two; drop table account; rollback to one;
select count(*), sum(cents) from account; release one; rollback;
select count(*), sum(cents) from account;

pragma journal_mode = persist;
begin exclusive; update account set cents = 1 where id = 1; update account set cents = -1 where id = 2; select cents from account where id < 3; commit;
update or ignore account set cents = cents - 9000; update or rollback account set cents = cents - 9000;
select count(*), sum(cents), min(cents) from account;

pragma journal_mode = memory;
begin; insert into account values(501, 'last', 1); update account set id = id + 1000; rollback;
begin; update account set id = id + 1000; commit;
select min(id), max(id), sum(cents) from account;

pragma journal_mode = off;
update account set owner = owner || '!'; select owner from account limit 1;
pragma journal_mode = delete;
pragma integrity_check;

-- Two files and one transaction; a journal for both.
attach 'other.db' as other;
create table other.account as select * from main.account where 0;
begin; insert into other.account select * from main.account where id < 1100; delete from main.account where id < 1100; commit;
begin; insert into other.account select * from main.account; delete from main.account; rollback;
select (select count(*) from main.account), (select count(*) from other.account), (select sum(cents) from main.account) + (select sum(cents) from other.account);
select name, file like '%.db' from pragma_database_list;
pragma main.integrity_check; pragma other.integrity_check;
detach other;

-- Pages spilled in the middle of a transaction that is then taken back.
pragma cache_size = 20; pragma cache_spill = on;
begin; with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000) insert into account select i + 5000, zeroblob(700), i from n;
select count(*) from account; rollback;
select count(*) from account; pragma page_count; pragma integrity_check;

-- Opened again, it is what it was; by two connections, one waits for the other and gives up.
.open t.db
select count(*), sum(cents) from account;
begin exclusive;
.connection 1
.open t.db
select count(*) from account;
.timeout 50
update account set cents = 0;
.connection 0
commit;
.connection 1
update account set cents = 7 where id = (select max(id) from account); select changes();
.connection 0
select cents from account order by id desc limit 1;
vacuum;
pragma freelist_count; pragma integrity_check;
.sha3sum
