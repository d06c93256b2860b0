-- A database of some MiB: indexed, searched, changed, made smaller, copied; checked each time.
create table line(id integer primary key, hash integer, word text, data blob);
with recursive n(i, h) as (select 1, 12345 union all select i + 1, (h * 1103515245 + 12345) % 2147483648 from n where i < 40000)
insert into line select i, h, printf('%08x-%d', h, i % 97), substr(zeroblob(50), 1, h % 50) || printf('%.*c', h % 60, 'x') from n;
create index line_hash on line(hash);
create unique index line_word on line(word, id);
pragma page_count;
select count(*), sum(hash), min(word), max(word), sum(length(data)) from line;
select word from line where hash between 1000000000 and 1000100000 order by hash;
select substr(word, -2), count(*), avg(hash) from line group by 1 having count(*) > 410 order by 1;
explain query plan select * from line where hash = 5 and id > 3;
update line set data = data || word where id % 3 = 0;
delete from line where id % 5 = 0;
select count(*), sum(length(data)) from line;
pragma integrity_check;
select name, sum(pageno > 0) > 100, sum(ncell) from dbstat where name like 'line%' and pagetype = 'leaf' group by name;
select count(*) from line a join line b on b.id = a.hash % 40000 where a.id < 20000 and b.word > 'd';
pragma page_size = 16384;
vacuum;
pragma page_size; pragma page_count; pragma freelist_count;
vacuum into 'copy.db';
analyze;
select * from sqlite_stat1 order by idx;
.backup backup.db
.open copy.db
select count(*), sum(hash), sum(length(data)) from line;
pragma quick_check;
.sha3sum
.open backup.db
pragma integrity_check;
.sha3sum
pragma auto_vacuum = incremental; vacuum;
delete from line where id > 100;
pragma freelist_count; pragma incremental_vacuum(100); pragma freelist_count;
select sum(id), count(*), total(hash) from line;
