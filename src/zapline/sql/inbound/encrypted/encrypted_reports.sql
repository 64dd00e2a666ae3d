-- Secrets of messages, and the reports that wait for them.

-- name: store_secrets
-- Keeps the secrets of messages, sealed.
insert into zapline.message_secrets as s (unit_id, provider, external_id, sealed, conversation_id, lasting, received_at)
select r.unit_id, r.provider, r.external_id, decode(r.sealed, 'base64'), min(r.conversation_id::text)::uuid,
       bool_or(r.lasting), greatest(to_timestamp(min(r.received_at)), now() - interval '1 hour')
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text, sealed text,
                                         conversation_id uuid, lasting boolean, received_at float8)
 group by r.unit_id, r.provider, r.external_id, r.sealed
 order by r.unit_id, r.provider, r.external_id, r.sealed
on conflict (unit_id, provider, external_id, sealed) do update
   set lasting = true where excluded.lasting and not s.lasting;

-- name: park_encrypted_reports
-- Keeps encrypted reports until they can be opened. Of one that comes again every name is kept.
insert into zapline.encrypted_reports as e (unit_id, provider, external_id, report_id, use, conversation_id, chat, actor,
                                            jids, payload, nonce, at_ms, received_at, live)
select r.unit_id, r.provider, r.external_id, r.report_id, r.use, r.conversation_id, r.chat, r.actor, r.jids,
       decode(r.payload, 'base64'), decode(r.nonce, 'base64'), r.at_ms,
       greatest(to_timestamp(r.received_at), now() - interval '1 hour'), r.live
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text, report_id text, use text,
                                         conversation_id uuid, chat text, actor text, jids text[], payload text,
                                         nonce text, at_ms bigint, received_at float8, live boolean)
 order by r.unit_id, r.provider, r.external_id, r.report_id
on conflict (unit_id, provider, external_id, report_id) do update
   set jids = array(select distinct unnest(e.jids || excluded.jids) order by 1),
       chat = least(e.chat collate "C", excluded.chat collate "C"),
       actor = least(e.actor collate "C", excluded.actor collate "C"),
       conversation_id = case when excluded.chat collate "C" < e.chat then excluded.conversation_id
                              else e.conversation_id end,
       live = e.live or excluded.live,
       at_ms = greatest(e.at_ms, excluded.at_ms),
       received_at = least(e.received_at, excluded.received_at);

-- name: drop_surplus
-- Of what waits of these people, keeps only the latest about one message, and the latest altogether: whoever sends what
-- nobody can open costs no more than that. Returns the messages of the others.
with people as (
    select distinct r.unit_id, r.actor from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, actor text)
), about_one as (
    select e.unit_id, e.provider, e.external_id, e.report_id, e.actor, e.at_ms,
           row_number() over (partition by e.unit_id, e.actor, e.provider, e.external_id, e.use
                                  order by e.at_ms desc, e.report_id desc) as place
      from people p
      join zapline.encrypted_reports e on e.unit_id = p.unit_id and e.actor = p.actor
), altogether as (
    select o.*, row_number() over (partition by o.unit_id, o.actor, o.place <= %(of_message)s
                                       order by o.at_ms desc, o.external_id, o.report_id) as place_of_all
      from about_one o
)
delete from zapline.encrypted_reports e using altogether a
 where e.unit_id = a.unit_id and e.provider = a.provider and e.external_id = a.external_id
   and e.report_id = a.report_id and (a.place > %(of_message)s or a.place_of_all > %(of_person)s)
returning e.unit_id, e.external_id;

-- name: list_waiting
-- The messages that encrypted reports wait for.
select distinct unit_id, external_id from zapline.encrypted_reports;

-- name: load_reports
-- The reports about these messages, with what is known of each message, and its sealed secrets.
select e.unit_id, e.external_id, coalesce(a.primary_id, r.primary_id) as primary_id, e.report_id, e.use, e.chat,
       e.actor, e.jids, case when m.id is not null then e.payload end as payload, e.nonce, e.at_ms,
       extract(epoch from e.received_at)::float8 as received_at, e.live, e.tried_at is not null as tried,
       coalesce((select coalesce(c.merged_into, c.id) from zapline.conversations c where c.id = e.conversation_id),
                e.conversation_id) as root,
       m.id as message, m.from_me, m.sender, m.kind, m.detail -> 'options' as options,
       coalesce(c.merged_into, c.id) as message_root, k.canonical as message_chat,
       array(select s.sealed from zapline.message_secrets s
              where s.unit_id = e.unit_id and s.provider = e.provider and s.external_id = e.external_id
              -- Those of the message's own chat first: whoever claims its id brings a secret too.
              order by s.conversation_id is distinct from m.conversation_id, s.sealed limit 8) as sealed
  from zapline.encrypted_reports e
  join jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text, primary_id text)
    on e.unit_id = r.unit_id and e.provider = r.provider and e.external_id = r.external_id
  left join zapline.message_aliases a on a.unit_id = r.unit_id and a.provider = r.provider and a.external_id = r.external_id
  left join zapline.messages m on m.unit_id = r.unit_id and m.provider = r.provider
                              and m.external_id = case when a.primary_id is null then r.primary_id else a.primary_id end
  left join zapline.conversations c on c.id = m.conversation_id
  left join zapline.contacts k on k.id = c.contact_id
 order by e.unit_id, e.external_id, e.report_id;

-- name: load_owners
-- Our own address in each unit.
select unit_id, owner_jid from zapline.unit_whatsapp_connections where unit_id = any(%(units)s);

-- name: load_identities
-- Every name and address of these people, and of the contacts that were merged with them.
with asked as (
    select * from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, canonical text, contact_id uuid)
), person as (
    select a.unit_id, a.canonical, a.contact_id from asked a
    union
    select a.unit_id, a.canonical, p.contact_id
      from asked a
      join zapline.conversations c on c.unit_id = a.unit_id and c.contact_id = a.contact_id
     cross join lateral (
           select d.contact_id from zapline.conversations d
            where d.id = case when c.merged_into is null then c.id else c.merged_into end
           union all
           select d.contact_id from zapline.conversations d where d.merged_into = coalesce(c.merged_into, c.id)) p)
select p.unit_id, p.canonical, array_agg(distinct k.canonical) as names,
       array_remove(array_agg(distinct 'lid:' || k.lid), null) as lids,
       array_remove(array_agg(distinct i.identity), null) as jids
  from person p
  join zapline.contacts k on k.id = p.contact_id
  left join zapline.contact_identities i on i.contact_id = k.id
 group by p.unit_id, p.canonical;

-- name: delete_encrypted_reports
-- Deletes reports that are done.
delete from zapline.encrypted_reports e
 using jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text, report_id text)
 where e.unit_id = r.unit_id and e.provider = r.provider and e.external_id = r.external_id
   and e.report_id = r.report_id;

-- name: mark_tried
-- Notes that these reports were tried in vain.
update zapline.encrypted_reports e set tried_at = now()
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text, report_id text)
 where e.unit_id = r.unit_id and e.provider = r.provider and e.external_id = r.external_id
   and e.report_id = r.report_id;

-- name: find_openable
-- Messages with reports to try again, the longer after their arrival the less often: a name may have become known.
select distinct e.unit_id, e.external_id
  from zapline.encrypted_reports e
 where (e.tried_at is null or e.tried_at < now() - greatest(interval '1 minute', (now() - e.received_at) / 4))
   and exists (select from zapline.messages m where m.unit_id = e.unit_id and m.provider = e.provider
                                                and m.external_id = e.external_id)
   and exists (select from zapline.message_secrets s where s.unit_id = e.unit_id and s.provider = e.provider
                                                       and s.external_id = e.external_id)
 limit %(limit)s;

-- name: delete_deleted
-- Deletes the secrets of messages that were deleted, and what waits for them.
with r as (select * from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text)),
waiting as (
    delete from zapline.encrypted_reports e using r
     where e.unit_id = r.unit_id and e.provider = r.provider and e.external_id = r.external_id)
delete from zapline.message_secrets s using r
 where s.unit_id = r.unit_id and s.provider = r.provider and s.external_id = r.external_id;

-- name: prune_secrets
-- Deletes secrets after their time; those of polls and events where there is no such message.
delete from zapline.message_secrets s
 where s.received_at < to_timestamp(%(before)s)
   and (not s.lasting
        or not exists (select from zapline.messages m
                        where m.unit_id = s.unit_id and m.provider = s.provider and m.external_id = s.external_id
                          and m.deleted_at is null)
           and not exists (select from zapline.attempts a
                            where a.unit_id = s.unit_id and a.external_id = s.external_id));

-- name: expire_encrypted_reports
-- Deletes reports that nobody could open in time. Returns how many.
delete from zapline.encrypted_reports where received_at < to_timestamp(%(before)s);
