-- What lines have shown since when. The recorder stores the changes, in the transaction of what caused them.

-- fragment: change
-- The columns of a change.
h.unit_id, h.number, extract(epoch from h.at)::float8 as at, h.phase, h.reason

-- name: list_periods
-- A page of a unit's changes with what came after each, the latest first, below a number.
select
       -- include: change
       , n.number as next_number, extract(epoch from n.at)::float8 as next_at, n.phase as next_phase,
       n.reason as next_reason
  from (select * from zapline.line_changes e
         where e.unit_id = %(unit_id)s and e.number < coalesce(%(before)s::bigint, 9223372036854775807)
         order by e.number desc
         limit %(limit)s) h
  left join lateral (
       select * from zapline.line_changes f
        where f.unit_id = h.unit_id and f.number > h.number order by f.number limit 1) n on true
 order by h.number desc;

-- name: list_changes_since
-- The changes of some units since a time, perhaps up to another, and of each the last one before; those of a unit
-- in their order.
select
       -- include: change
  from unnest(%(units)s::uuid[]) as u(id)
 cross join lateral (
       select coalesce(max(b.number), 0) as first
         from (select e.number from zapline.line_changes e
                where e.unit_id = u.id and e.at < to_timestamp(%(since)s)
                order by e.at desc, e.number desc limit 1) b) before
  join zapline.line_changes h on h.unit_id = u.id and h.number >= before.first
                             and h.at <= coalesce(to_timestamp(%(until)s), 'infinity')
 order by h.unit_id, h.number;

-- name: prune_changes
-- Deletes changes of before a time, and beyond so many a unit; never a unit's last one, and at most so many at once.
delete from zapline.line_changes h
 using (select e.unit_id, e.number
          from zapline.units u
         cross join lateral (
               select max(n.number) as last from zapline.line_changes n where n.unit_id = u.id) newest
         cross join lateral (
               (select o.unit_id, o.number from zapline.line_changes o
                 where o.unit_id = u.id and o.at < to_timestamp(%(before)s) and o.number < newest.last
                 limit %(limit)s)
               union
               (select o.unit_id, o.number from zapline.line_changes o
                 where o.unit_id = u.id and o.number <= newest.last - %(most)s::bigint
                 limit %(limit)s)) e
         limit %(limit)s) old
 where h.unit_id = old.unit_id and h.number = old.number;
