-- Queries whose answers are known: a sudoku, primes, a Mandelbrot set and its picture in text.
with recursive
  input(sud) as (values('53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79')),
  digits(z, lp) as (values('1', 1) union all select cast(lp + 1 as text), lp + 1 from digits where lp < 9),
  x(s, ind) as (
    select sud, instr(sud, '.') from input
    union all
    select substr(s, 1, ind - 1) || z || substr(s, ind + 1), instr(substr(s, 1, ind - 1) || z || substr(s, ind + 1), '.')
    from x, digits as z
    where ind > 0 and not exists (
      select 1 from digits as lp
      where z.z = substr(s, ((ind - 1) / 9) * 9 + lp, 1) or z.z = substr(s, ((ind - 1) % 9) + (lp - 1) * 9 + 1, 1)
        or z.z = substr(s, (((ind - 1) / 3) % 3) * 3 + ((ind - 1) / 27) * 27 + lp + ((lp - 1) / 3) * 6, 1)))
select s from x where ind = 0;
with recursive n(i) as (select 2 union all select i + 1 from n where i < 1000)
select count(*), sum(i), max(i) from n a where not exists (select 1 from n b where b.i * b.i <= a.i and a.i % b.i = 0);
with recursive
  xaxis(x) as (values(-2.0) union all select x + 0.05 from xaxis where x < 1.2),
  yaxis(y) as (values(-1.0) union all select y + 0.1 from yaxis where y < 1.0),
  m(iter, cx, cy, x, y) as (
    select 0, x, y, 0.0, 0.0 from xaxis, yaxis
    union all select iter + 1, cx, cy, x * x - y * y + cx, 2.0 * x * y + cy from m where (x * x + y * y) < 4.0 and iter < 28),
  m2(iter, cx, cy) as (select max(iter), cx, cy from m group by cx, cy),
  a(t) as (select group_concat(substr(' .+*#', 1 + min(iter / 7, 4), 1), '') from m2 group by cy)
select group_concat(rtrim(t), x'0a') from a;
create table a(x); create table b(x);
with recursive n(i) as (select 0 union all select i + 1 from n where i < 999) insert into a select i * i % 1009 from n;
with recursive n(i) as (select 0 union all select i + 1 from n where i < 999) insert into b select i * 7 % 1009 from n;
select count(*) from (select x from a union select x from b);
select count(*) from (select x from a intersect select x from b);
select count(*) from (select x from a except select x from b);
select count(*), count(distinct a.x), sum(b.x) from a left join b on a.x = b.x where a.x < 50;
select count(*) from a full outer join b using(x);
