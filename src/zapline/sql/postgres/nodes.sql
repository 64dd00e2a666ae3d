-- Nodes: who serves the units, and until when.

-- name: delete_others
-- Whoever holds the advisory lock is the only node: all others are over.
delete from zapline.nodes where id <> %(node)s;

-- name: insert_node
-- A node that has just taken the lead.
insert into zapline.nodes (id, name, version, epoch, expires_at)
values (%(node)s, %(name)s, %(version)s, %(epoch)s, clock_timestamp() + %(lease)s * interval '1 second');

-- name: take_units
-- Gives all units to this node, under a new epoch. It waits for transactions of an earlier owner: those that store, and
-- claims, which only share the row.
with taken as materialized (
    select unit_id from zapline.unit_whatsapp_connections
     where archived_at is null or archived_at > now() - interval '1 day'
     order by unit_id
       for update)
update zapline.unit_whatsapp_connections u
   set owner = %(node)s, epoch = %(epoch)s
  from taken t where u.unit_id = t.unit_id;

-- name: adopt_units
-- Gives units without an owner to this node, if its lease holds.
update zapline.unit_whatsapp_connections u
   set owner = n.id, epoch = n.epoch
  from zapline.nodes n
 where n.id = %(node)s and n.expires_at > clock_timestamp() and u.owner is null and u.epoch <= n.epoch
   and (u.archived_at is null or u.archived_at > now() - interval '1 day');

-- name: renew_lease
-- Renews a node's lease. No row back: it is over, or somebody has taken the node out.
update zapline.nodes
   set expires_at = clock_timestamp() + %(lease)s * interval '1 second',
       clock_offset = %(wall)s::float8 - extract(epoch from clock_timestamp())::float8
 where id = %(node)s and expires_at > clock_timestamp()
returning extract(epoch from clock_timestamp())::float8 as now;

-- name: hand_back
-- Ends a node: its units belong to nobody.
with gone as (delete from zapline.nodes where id = %(node)s)
update zapline.unit_whatsapp_connections set owner = null where owner = %(node)s;

-- name: list_nodes
-- All nodes, and how many units each owns.
select n.id, n.name, n.version, n.epoch, extract(epoch from n.joined_at)::float8 as joined_at,
       extract(epoch from n.expires_at)::float8 as expires_at, n.expires_at > clock_timestamp() as lives,
       n.clock_offset,
       (select count(*) from zapline.unit_whatsapp_connections u where u.owner = n.id and u.archived_at is null) as units
  from zapline.nodes n order by n.joined_at, n.id;
