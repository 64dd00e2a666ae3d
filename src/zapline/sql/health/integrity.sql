-- What must be true of the stored rows. Each statement returns what breaks its sentence: one text a row.

-- name: instance_of_two_units
-- No instance belongs to two active units.
select format('instance %%s (%%s): units %%s', instance_id, provider, string_agg(unit_id::text, ', ' order by unit_id)) as found
  from zapline.unit_whatsapp_connections
 where archived_at is null
 group by provider, instance_id having count(*) > 1
 order by 1 limit %(most)s;

-- name: unit_with_two_instances
-- No active unit has two instances.
select format('unit %%s: instances %%s', unit_id, string_agg(instance_id, ', ' order by instance_id)) as found
  from zapline.unit_whatsapp_connections
 where archived_at is null
 group by unit_id having count(*) > 1
 order by 1 limit %(most)s;

-- name: unit_without_line
-- Every active unit has a line, and both are archived together.
select format('unit %%s', u.id) as found
  from zapline.units u left join zapline.unit_whatsapp_connections c on c.unit_id = u.id
 where (u.archived_at is null) is distinct from (c.unit_id is not null and c.archived_at is null)
 order by 1 limit %(most)s;

-- name: message_without_conversation
-- Every message has a conversation of its own unit.
select format('message %%s of unit %%s', m.id, m.unit_id) as found
  from zapline.messages m left join zapline.conversations c on c.id = m.conversation_id
 where c.unit_id is distinct from m.unit_id
 order by 1 limit %(most)s;

-- name: conversation_without_contact
-- Every conversation has a contact of its own unit.
select format('conversation %%s of unit %%s', v.id, v.unit_id) as found
  from zapline.conversations v left join zapline.contacts c on c.id = v.contact_id
 where c.unit_id is distinct from v.unit_id
 order by 1 limit %(most)s;

-- name: identity_without_contact
-- Every identity names a contact of its own unit.
select format('an identity of contact %%s, unit %%s', i.contact_id, i.unit_id) as found
  from zapline.contact_identities i left join zapline.contacts c on c.id = i.contact_id
 where c.unit_id is distinct from i.unit_id
 order by 1 limit %(most)s;

-- name: merge_chain
-- A merged conversation points to the one that counts, in one step and in the same unit.
select format('conversation %%s -> %%s%%s', child.id, root.id,
              case when root.merged_into is not null then ' -> ' || root.merged_into end) as found
  from zapline.conversations child left join zapline.conversations root on root.id = child.merged_into
 where child.merged_into is not null
   and (root.merged_into is not null or root.unit_id is distinct from child.unit_id or root.id = child.id)
 order by 1 limit %(most)s;

-- name: duplicate_message
-- No message is stored twice.
select format('%%s messages %%s of unit %%s', count(*), external_id, unit_id) as found
  from zapline.messages
 where external_id is not null
 group by unit_id, provider, external_id having count(*) > 1
 order by 1 limit %(most)s;

-- name: row_without_unit
-- Every row belongs to a unit that exists.
with owners as (
    select 'unit_whatsapp_connections' as place, unit_id from zapline.unit_whatsapp_connections
    union select 'contacts', unit_id from zapline.contacts
    union select 'contact_identities', unit_id from zapline.contact_identities
    union select 'conversations', unit_id from zapline.conversations
    union select 'messages', unit_id from zapline.messages
    union select 'parked_reports', unit_id from zapline.parked_reports
    union select 'waiting_facts', unit_id from zapline.waiting_facts
    union select 'message_reactions', unit_id from zapline.message_reactions
    union select 'dead_letters', unit_id from zapline.dead_letters)
select format('%%s: rows of unit %%s', place, unit_id) as found
  from owners o
 where not exists (select from zapline.units u where u.id = o.unit_id)
 order by 1 limit %(most)s;

-- name: report_not_applied
-- No report waits for longer than five minutes for a message that is there.
select format('%%s of unit %%s, parked at %%s', p.external_id, p.unit_id, p.parked_at) as found
  from zapline.parked_reports p
  join zapline.messages m on m.unit_id = p.unit_id and m.provider = p.provider and m.external_id = p.external_id
 where greatest(p.parked_at, m.received_at) < now() - interval '5 minutes' and p.tried_at is null
 order by 1 limit %(most)s;

-- name: table_without_row_security
-- Row level security is enabled and forced on every table that holds rows of units.
select format('table %%s', c.relname) as found
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname = 'zapline' and c.relkind in ('r', 'p')
   and (c.relname = 'units' or exists (
        select from pg_attribute a where a.attrelid = c.oid and a.attname = 'unit_id' and not a.attisdropped))
   and not (c.relrowsecurity and c.relforcerowsecurity)
 order by 1 limit %(most)s;

-- name: role_too_mighty
-- The roles zapline_engine and zapline_api exist, and neither can step around row level security.
select format('role %%s %%s', wanted.name, case
           when r.oid is null then 'does not exist'
           when r.rolsuper then 'is a superuser'
           when r.rolbypassrls then 'has BYPASSRLS'
           else 'owns tables' end) as found
  from (values ('zapline_engine'), ('zapline_api')) as wanted (name)
  left join pg_roles r on r.rolname = wanted.name
 where r.oid is null or r.rolsuper or r.rolbypassrls or exists (
       select from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'zapline' and c.relowner = r.oid)
 order by 1 limit %(most)s;

-- name: dead_letters_by_reason
-- Dead letters that nobody has revived or given up, by reason.
select format('%%s: %%s', reason, count(*)) as found
  from zapline.dead_letters where revived_at is null and given_up_at is null
 group by reason order by count(*) desc, reason limit %(most)s;

-- name: settled_without_call
-- Every settled message has a call that Evolution took.
select format('message %%s of unit %%s', o.message_id, o.unit_id) as found
  from zapline.outbox o
 where o.state = 'settled'
   and not exists (select from zapline.attempts a where a.message_id = o.message_id and a.outcome = 'sent')
 order by 1 limit %(most)s;

-- name: id_of_no_call
-- A message that was sent from here goes by an id that one of its own calls owns.
select format('message %%s of unit %%s', m.id, m.unit_id) as found
  from zapline.messages m
 where m.client_message_id is not null and m.external_id is not null
   and not exists (select from zapline.attempts a where a.message_id = m.id and a.external_id = m.external_id)
 order by 1 limit %(most)s;

-- name: too_many_tries
-- No message was tried more than three times by its own fault.
select format('message %%s of unit %%s: %%s tries', message_id, unit_id, tries) as found
  from zapline.outbox where tries > 3
 order by 1 limit %(most)s;

-- name: work_of_another_unit
-- A message, its outbox row and its calls are of one unit.
select format('message %%s', o.message_id) as found
  from zapline.outbox o
  join zapline.messages m on m.id = o.message_id
  left join zapline.attempts a on a.message_id = o.message_id
 where m.unit_id <> o.unit_id or a.unit_id <> o.unit_id
 order by 1 limit %(most)s;

-- name: echo_undecided
-- No echo waits longer than an hour to be matched.
select format('echo %%s of unit %%s', external_id, unit_id) as found
  from zapline.sightings where received_at < now() - interval '1 hour' and shown_at is null
 order by 1 limit %(most)s;
