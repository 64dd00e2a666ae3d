-- Whether servers honour the ids that are chosen for messages.

-- name: list_known
-- What is known of a server, the newest version first.
select server, version, route, honoured, extract(epoch from seen_at)::float8 as seen_at
  from zapline.message_id_support
 where server = %(server)s
 order by seen_at desc, version, route;

-- name: list_all
-- What is known of all servers, the newest first.
select server, version, route, honoured, extract(epoch from seen_at)::float8 as seen_at
  from zapline.message_id_support
 order by seen_at desc, version, route;

-- name: store
-- Remembers what an answer has shown.
insert into zapline.message_id_support as s (server, version, route, honoured)
values (%(server)s, %(version)s, %(route)s, %(honoured)s)
on conflict (server, version, route) do update set honoured = excluded.honoured, seen_at = now();
