-- What SQL says: queries, constraints, triggers, and the functions that are compiled in.
.headers on
create table part(id integer primary key, up references part, name text not null unique, price real check(price >= 0));
insert into part values(1,null,'wheel',100.5),(2,1,'rim',20),(3,1,'tyre',30.25),(4,2,'spoke',0.5),(5,2,'nipple',0.05);
insert into part values(6,null,'wheel',1);
insert into part values(7,null,null,1);
insert into part values(8,null,'hub',-1);
with recursive below(id, depth, path) as (
  select id, 0, name from part where up is null
  union all select part.id, depth + 1, path || '/' || name from part join below on part.up = below.id order by 2 desc
) select * from below;
insert into part values(1,null,'wheel',99) on conflict(id) do update set price = excluded.price returning id, price;
select name, price, sum(price) over (order by price rows between 1 preceding and current row) as running,
       rank() over (order by price desc), lag(name, 1, '-') over (order by id), ntile(3) over (order by id) from part order by id;
create table log(what text, at integer);
create trigger dear after update of price on part when new.price > old.price begin insert into log values(old.name, new.price); end;
update part set price = price * 2 where up = 2;
select * from log;
create view leaf as select * from part p where not exists (select 1 from part where up = p.id);
select count(*), group_concat(name, '+') from leaf;
create table box(w real, h real, area real generated always as (w * h) stored, name text as ('box ' || w || 'x' || h));
insert into box(w, h) values(2, 3.5), (1e10, 1e-10);
select * from box;
insert into box values(1, 2, 3);
pragma foreign_keys = on;
insert into part values(9, 77, 'lost', 0);
delete from part where id = 1;
select * from nowhere;
select 1 +;
explain query plan select * from part p join part q on q.up = p.id where p.name = 'rim';
-- Numbers and text.
select 1/3.0, 1e308*10, -1e308*10, 9223372036854775807 + 1, 9223372036854775807, 5 % -3, -5 / 2, 1 << 62, ~0, 0x7fff;
select printf('%08.3f|%-6s|%+d|%x|%e|%!.15g|%q|%,d', 3.14159, 'ab', 7, 255, 12345.678, 0.1, 'it''s', 123456789);
select round(2.5), round(-2.567, 2), abs(-3), sqrt(2), pow(2, 0.5), ln(10), exp(1), sin(1), cos(1), atan2(1, 2), pi(), mod(7.5, 2), degrees(1);
select upper('straße'), length('straße'), hex('straße'), unicode('ß'), char(8364), substr('abcdef', -3, 2), instr('hello', 'l'), replace('aXbX', 'X', '--'), trim('  x ');
select 'abc' like 'A%', 'abc' glob 'a*', 'abc' collate nocase = 'ABC', quote(x'00ff'), typeof(1.0), zeroblob(3) = x'000000', cast('12abc' as integer);
select date('2000-02-29', '+1 year'), julianday('2018-07-11'), strftime('%Y-%m-%d %H:%M:%S %w %j', 1531267200, 'unixepoch'), time('12:00', '-90 minutes'), unixepoch('1970-01-02');
select json_extract('{"a":[1,{"b":null},2.5]}', '$.a[2]'), json_set('{"a":1}', '$.b', json('[true]')), json('{"a":1') ;
select key, value, type, path from json_tree('{"x":[10,"y",null],"z":{}}');
select json_group_object(name, price) from part;
-- Words and places.
create virtual table words using fts5(title, body, tokenize = 'porter');
insert into words values('fork', 'a parent forking makes children'), ('exec', 'an image replaces another'), ('wait', 'parents wait for forked children');
select title, highlight(words, 1, '[', ']'), round(rank, 6) from words where words match 'fork AND children' order by rank;
select title from words where words match 'title:exec OR "wait for"' order by title;
create virtual table place using rtree(id, x0, x1, y0, y1);
with recursive n(i) as (select 0 union all select i + 1 from n where i < 999) insert into place select i, i % 40, i % 40 + 0.5, i / 40, i / 40 + 0.5 from n;
select count(*), min(id), max(id) from place where x0 >= 10 and x1 <= 15 and y0 >= 3 and y1 < 9;
select rtreecheck('place');
insert into words(words) values('integrity-check');
pragma integrity_check;
pragma foreign_key_check;
-- How the shell shows it.
.mode box
select * from leaf;
.mode csv
select 'a,b', 'c"d', null;
.mode json
select id, name, null as n, x'41' as b from part limit 2;
.mode insert part
select * from part where id = 3;
.mode quote
select 1.5, 'x''y', null, x'0102';
.mode column
select id, name from part order by name;
.schema
.tables
.indexes
.dump log
