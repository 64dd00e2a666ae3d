-- Import from the old system. Its tables are only read here; legacy_import.py adds columns and an index to one of
-- them.

-- name: list_columns
-- The columns of a table by name; no row where there is no such table.
select a.attname::text as name
  from pg_attribute a
  join pg_class c on c.oid = a.attrelid
  join pg_namespace n on n.oid = c.relnamespace
 where n.nspname = %(schema)s and c.relname = %(relation)s and c.relkind in ('r', 'p')
   and a.attnum > 0 and not a.attisdropped;

-- name: list_taken_names
-- Relations that have the index's name or one derived from it, and whether they are indexes of the old table.
select c.relname::text as name, coalesce(t.relname = %(relation)s, false) as ours
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_index i on i.indexrelid = c.oid
  left join pg_class t on t.oid = i.indrelid
 where n.nspname = %(schema)s and c.relname like %(pattern)s;

-- name: has_schema
-- Whether Zapline's own tables exist.
select to_regclass('zapline.unit_whatsapp_connections') is not null as there;

-- name: list_known_lines
-- Every unit that Zapline has, including archived ones.
select u.id, c.instance_id as instance, c.archived_at is not null or u.archived_at is not null as archived
  from zapline.units u join zapline.unit_whatsapp_connections c on c.unit_id = u.id
 where c.provider = %(provider)s;

-- name: import_unit
-- A unit of the old system; its old id is stored where ours is derived from it.
insert into zapline.units (id, name, legacy_id) values (%(id)s, %(name)s, %(legacy_id)s);

-- name: import_line
-- The line of the unit in the state that the old system has stored; the daemon checks it later.
insert into zapline.unit_whatsapp_connections
       (unit_id, provider, instance_id, phase, status, status_reason, wanted, secret_digest)
values (%(unit_id)s, %(provider)s, %(instance)s, %(phase)s, %(status)s, %(reason)s, %(wanted)s, %(digest)s);

-- name: hijacked_login
-- Whether a login called zapline uses the old table: "$user" puts our schema first in its search path.
select exists (select from pg_roles r where r.rolname = 'zapline' and r.rolcanlogin
                  and has_table_privilege(r.oid, %(relation)s::regclass, 'select')
                  and not exists (select from pg_db_role_setting s, unnest(s.setconfig) as one
                                   where s.setrole = r.oid and one like 'search\_path=%%'
                                     and one not like '%%$user%%')) as hijacked;
