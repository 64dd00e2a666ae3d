-- Erasure of one person: everything stored under any of the person's names is deleted, in pieces that do not block
-- others for long.

-- name: find_names
-- Every name of a person: from the given contacts to those that were merged with them, in both directions.
with recursive person(id) as (
    select k.id from zapline.contacts k
     where k.unit_id = %(unit_id)s and k.kind = 'person'
       and (k.canonical = any(%(names)s) or k.lid = any(%(lids)s) or k.id = %(id)s::uuid
            or k.id in (select c.contact_id from zapline.conversations c
                         where c.unit_id = %(unit_id)s and c.id = %(id)s::uuid))
    union
    select k.id
      from person
      join zapline.contacts known on known.id = person.id
      join lateral (
           select l.contact_id as id
             from zapline.conversations c
             join zapline.conversations l on l.id = c.merged_into or l.merged_into = c.id
            where c.contact_id = known.id and c.unit_id = %(unit_id)s
           union all
           select x.id from zapline.contacts x
            where x.unit_id = %(unit_id)s and x.canonical in (known.phone, 'lid:' || known.lid)
           union all
           select x.id from zapline.contacts x
            where x.unit_id = %(unit_id)s and x.kind = 'person' and x.lid = known.lid) k on true)
select array(select distinct known_as.name
               from person join zapline.contacts k on k.id = person.id,
                    unnest(array[k.canonical, k.phone, 'lid:' || k.lid]) as known_as(name)
              where known_as.name is not null order by known_as.name) as names,
       array(select distinct split_part(i.identity, '@', 1)
               from person join zapline.contact_identities i on i.contact_id = person.id
              where i.unit_id = %(unit_id)s
              order by 1) as digits;

-- name: insert_job
-- Inserts the job. No row back: the same person is being erased already.
insert into zapline.erasures (id, unit_id, names, digits, erased_at)
select %(id)s, %(unit_id)s, %(names)s, %(digits)s, to_timestamp(%(at)s)
 where not exists (select from zapline.erasures e
                    where e.unit_id = %(unit_id)s and e.state = 'running' and e.names && %(names)s)
returning id;

-- name: find_running_job
-- The running job that erases a person of these names.
select id from zapline.erasures
 where unit_id = %(unit_id)s and state = 'running' and names && %(names)s
 order by erased_at limit 1;

-- name: delete_suppressions
-- Deletes the person's suppressions; the opt-out is kept with the digest.
delete from zapline.suppressions where unit_id = %(unit_id)s and canonical = any(%(names)s)
returning canonical;

-- name: store_digests
-- Stores the digests of an erased person, and the time of the erasure.
insert into zapline.erased_people as e (unit_id, digest, erased_at, opted_out)
select %(unit_id)s, d, to_timestamp(%(at)s), %(opted_out)s from unnest(%(digests)s::bytea[]) as d order by d
on conflict (unit_id, digest) do update
   set erased_at = greatest(e.erased_at, excluded.erased_at), opted_out = e.opted_out or excluded.opted_out;

-- name: load_erased_people
-- The erased people of all units.
select unit_id, digest, extract(epoch from erased_at)::float8 as erased_at from zapline.erased_people;

-- name: find_opted_out_digests
-- The erased people of a unit who had opted out, of these digests.
select digest from zapline.erased_people where unit_id = %(unit_id)s and opted_out and digest = any(%(digests)s);

-- name: has_opted_out
-- Whether a unit has erased people who had opted out.
select exists (select from zapline.erased_people where unit_id = %(unit_id)s and opted_out) as any;

-- name: delete_opt_out
-- Deletes the opt-out of an erased person.
update zapline.erased_people set opted_out = false
 where unit_id = %(unit_id)s and digest = %(digest)s and opted_out;

-- name: has_unit
-- Whether there is such a unit, active or archived.
select id from zapline.units where id = %(id)s;

-- name: list_running_jobs
-- Running jobs, oldest first.
select id, unit_id, names, digits, extract(epoch from erased_at)::float8 as erased_at, searched, waits_for
  from zapline.erasures where state = 'running' order by erased_at, id;

-- name: list_erasures
-- A page of a unit's jobs, newest first, or one of them. Whom they concern is not shown.
select id, state, erased_at, ended_at, waits_for, counts
  from zapline.erasures
 where unit_id = %(unit_id)s and (%(id)s::uuid is null or id = %(id)s)
   and (%(before_at)s::timestamptz is null or (erased_at, id) < (%(before_at)s, %(before_id)s::uuid))
 order by erased_at desc, id desc
 limit %(limit)s;

-- name: store_progress
-- Stores the progress of a job; counts of deleted rows add up.
update zapline.erasures e
   set waits_for = %(waits_for)s, searched = greatest(searched, %(searched)s),
       counts = e.counts || (
           select coalesce(jsonb_object_agg(k.key, k.value::bigint + coalesce((e.counts ->> k.key)::bigint, 0)), '{}')
             from jsonb_each_text(%(counts)s) as k)
 where e.id = %(id)s and e.state = 'running';

-- name: finish_job
-- Ends a job and deletes the names in it.
update zapline.erasures set state = 'done', ended_at = now(), waits_for = null, names = '{}', digits = '{}'
 where id = %(id)s and state = 'running'
returning id;

-- name: cancel_queued_sends
-- Cancels queued messages to the person.
update zapline.outbox o set state = 'cancelled', failure = 'erased', failure_detail = null, ended_at = now()
  from zapline.messages m
 where o.unit_id = %(unit_id)s and o.state = 'queued' and m.id = o.message_id
   and m.received_at <= to_timestamp(%(until)s)
   and (o.conversation_id = any(%(conversations)s) or o.recipient = any(%(names)s));

-- name: end_abandoned_calls
-- Makes calls to the person uncertain that an archived unit has left open: no sender will learn their result.
update zapline.outbox o set state = 'uncertain', leased_by = null, lease_until = null, look_at = null
  from zapline.units u
 where o.unit_id = %(unit_id)s and u.id = o.unit_id and u.archived_at is not null
   and o.state = 'leased' and o.lease_until < now()
   and (o.conversation_id = any(%(conversations)s) or o.recipient = any(%(names)s));

-- name: skip_pending_recipients
-- Skips and anonymises the person in campaigns that have not sent a message yet.
update zapline.campaign_recipients r
   set recipient = 'erased:' || r.number, parameters = '{}', detail = null, state = 'skipped', reason = 'erased'
 where r.unit_id = %(unit_id)s and r.recipient = any(%(names)s) and r.state = 'pending';

-- name: count_open_calls
-- Counts open calls to the person.
select count(*) as calls from zapline.outbox
 where unit_id = %(unit_id)s and state = 'leased'
   and (conversation_id = any(%(conversations)s) or recipient = any(%(names)s));

-- name: find_messages
-- Some of the older messages of the person's conversations.
select m.id, m.external_id
  from zapline.messages m
 where m.unit_id = %(unit_id)s and m.conversation_id = any(%(conversations)s)
   and m.received_at <= to_timestamp(%(until)s)
   and not exists (select from zapline.outbox o where o.message_id = m.id and o.state in ('queued', 'leased'))
 limit %(limit)s
   for update of m skip locked;

-- name: find_group_messages
-- Some of the older messages that the person sent to groups.
select m.id, m.external_id
  from zapline.messages m
 where m.unit_id = %(unit_id)s and m.sender = any(%(names)s) and m.received_at <= to_timestamp(%(until)s)
 limit %(limit)s
   for update of m skip locked;

-- name: has_files_left
-- Whether files of the unit are to be removed from disk yet.
select exists (select from zapline.file_removals where unit_id = %(unit_id)s) as any;

-- name: has_messages
-- Whether older messages of the person exist.
select exists (select from zapline.messages m
                where m.unit_id = %(unit_id)s and m.received_at <= to_timestamp(%(until)s)
                  and (m.conversation_id = any(%(conversations)s) or m.sender = any(%(names)s))) as any;

-- name: delete_reactions
-- Deletes the person's reactions to messages of others.
delete from zapline.message_reactions
 where unit_id = %(unit_id)s and actor = any(%(names)s) and received_at <= to_timestamp(%(until)s);

-- name: delete_secrets
-- Deletes secrets of messages in the person's conversations that are not stored.
delete from zapline.message_secrets
 where unit_id = %(unit_id)s and received_at <= to_timestamp(%(until)s) and conversation_id = any(%(conversations)s);

-- name: delete_encrypted_reports
-- Deletes encrypted reports by the person, and in the person's conversations.
delete from zapline.encrypted_reports
 where unit_id = %(unit_id)s and received_at <= to_timestamp(%(until)s)
   and (conversation_id = any(%(conversations)s) or actor = any(%(names)s));

-- name: delete_parked_reports
-- Deletes the person's reports about messages that have not come, among them new texts.
delete from zapline.parked_reports
 where unit_id = %(unit_id)s and parked_at <= to_timestamp(%(until)s) and claim <> ''
   and (claim::jsonb ->> 'chat' = any(%(contacts)s) or claim::jsonb ->> 'author' = any(%(contacts)s));

-- name: delete_waiting
-- Deletes what the person has said, and what was said in the person's chats, that waits until it is known whose it is.
delete from zapline.waiting_facts
 where unit_id = %(unit_id)s and received_at <= to_timestamp(%(until)s)
   and (said ->> 'conversation_id' = any(%(conversations)s::text[]) or said ->> 'sender' = any(%(names)s)
        or said ->> 'actor' = any(%(names)s)
        or nullif(said ->> 'claim', '')::jsonb ->> 'chat' = any(%(contacts)s::text[])
        or nullif(said ->> 'claim', '')::jsonb ->> 'author' = any(%(contacts)s::text[]));

-- name: delete_sightings
-- Deletes undecided echoes of messages to the person.
delete from zapline.sightings
 where unit_id = %(unit_id)s and received_at <= to_timestamp(%(until)s)
   and (conversation_id = any(%(conversations)s) or row ->> 'sender' = any(%(names)s));

-- name: delete_number_checks
-- Deletes what WhatsApp has said of the person's phone.
delete from zapline.number_checks where unit_id = %(unit_id)s and phone = any(%(names)s);

-- name: delete_memberships
-- Deletes what WhatsApp has said of the person's being in groups. Returns the phones by which it did: a person may be known
-- by a LID alone elsewhere.
delete from zapline.group_members
 where unit_id = %(unit_id)s and (canonical = any(%(names)s) or phone = any(%(names)s) or lid = any(%(lids)s))
returning phone;

-- name: blank_recipients
-- Anonymises the person in campaigns, whose counts stay. A person who was put on a list meanwhile is skipped, too,
-- since an anonymous recipient cannot be sent a message.
update zapline.campaign_recipients r
   set recipient = 'erased:' || r.number, parameters = '{}', detail = null,
       state = case when r.state = 'pending' then 'skipped' else r.state end,
       ended_as = coalesce(r.ended_as, (select zapline.recipient_state(r.state, o.state, m.delivery)
                                          from zapline.outbox o join zapline.messages m on m.id = o.message_id
                                         where o.message_id = r.message_id)),
       reason = case when r.state = 'pending' then 'erased' else
                coalesce(r.reason, (select o.failure from zapline.outbox o where o.message_id = r.message_id)) end
 where r.unit_id = %(unit_id)s and r.recipient = any(%(names)s);

-- name: find_dead_letters_end
-- Where a piece of so many of the unit's dead letters ends: to read all bodies at once may take too long.
select max(id) as id from (select id from zapline.dead_letters
                            where unit_id = %(unit_id)s and id > %(after)s order by id limit %(limit)s) piece;

-- name: find_dead_letters
-- Dead letters of a piece whose body or detail contains one of the marks; the caller checks whether the body names
-- the person.
select id, raw, detail
  from zapline.dead_letters d
 where d.unit_id = %(unit_id)s and d.id > %(after)s and d.id <= %(last)s
   and d.received_at <= to_timestamp(%(until)s)
   and exists (select from unnest(%(marks)s::text[]) as t
                where position(convert_to(t, 'UTF8') in d.raw) > 0 or strpos(d.detail, t) > 0)
 order by d.id;

-- name: delete_dead_letters
-- Deletes dead letters that name the person.
delete from zapline.dead_letters where unit_id = %(unit_id)s and id = any(%(ids)s);

-- name: redact_mentions
-- Replaces mentions of the person by stars in a piece of the unit's messages. Returns the changed ones.
update zapline.messages m
   set body = regexp_replace(m.body, %(pattern)s, '****', 'g'),
       edited_body = regexp_replace(m.edited_body, %(pattern)s, '****', 'g'),
       sender_name = regexp_replace(m.sender_name, %(pattern)s, '****', 'g'),
       detail = case when m.detail::text ~ %(pattern)s then '{}' else m.detail end,
       quoted = case when m.quoted::text ~ %(pattern)s then null else m.quoted end,
       media = case when m.media::text ~ %(pattern)s
                    then m.media - 'fileName' - 'url' else m.media end,
       raw = case when exists (select from unnest(%(digits)s::text[]) as t
                                where position(convert_to(t, 'UTF8') in m.raw) > 0) then null else m.raw end
 where m.unit_id = %(unit_id)s and m.seq > %(after)s and m.seq <= %(last)s
   and m.received_at <= to_timestamp(%(until)s)
   and (m.body ~ %(pattern)s or m.edited_body ~ %(pattern)s or m.sender_name ~ %(pattern)s
        or m.detail::text ~ %(pattern)s or m.quoted::text ~ %(pattern)s or m.media::text ~ %(pattern)s
        or exists (select from unnest(%(digits)s::text[]) as t where position(convert_to(t, 'UTF8') in m.raw) > 0))
returning m.id;

-- name: find_messages_end
-- Where a piece of so many of the unit's messages ends.
select max(seq) as seq from (select seq from zapline.messages
                              where unit_id = %(unit_id)s and seq > %(after)s order by seq limit %(limit)s) piece;

-- name: delete_conversations
-- Deletes the person's conversations without newer messages. Merged ones are deleted before their root.
delete from zapline.conversations c
 where c.unit_id = %(unit_id)s and c.id = any(%(conversations)s) and (c.merged_into is not null) = %(merged)s
   and not exists (select from zapline.messages m where m.conversation_id = c.id)
   and not exists (select from zapline.conversations p where p.merged_into = c.id);

-- name: delete_identities
-- Deletes identities of contacts that are about to be deleted, unless they have sent a message to a group since.
delete from zapline.contact_identities i
 using zapline.contacts k
 where i.unit_id = %(unit_id)s and i.contact_id = any(%(contacts)s) and k.id = i.contact_id
   and not exists (select from zapline.conversations c where c.contact_id = k.id)
   and not exists (select from zapline.messages m where m.unit_id = k.unit_id and m.sender = k.canonical);

-- name: delete_contacts
-- Deletes the person's contacts without newer messages.
delete from zapline.contacts k
 where k.unit_id = %(unit_id)s and k.id = any(%(contacts)s)
   and not exists (select from zapline.conversations c where c.contact_id = k.id)
   and not exists (select from zapline.contact_identities i where i.contact_id = k.id)
   and not exists (select from zapline.messages m where m.unit_id = k.unit_id and m.sender = k.canonical);

-- name: unname_contacts
-- Deletes older names and usernames of contacts with newer messages.
update zapline.contacts
   set name = case when coalesce(name_at, '-infinity') > to_timestamp(%(until)s) then name end,
       name_at = case when name_at > to_timestamp(%(until)s) then name_at end,
       name_reports = case when name_at > to_timestamp(%(until)s) then name_reports end,
       username = case when username_at > to_timestamp(%(until)s) then username end,
       username_at = case when username_at > to_timestamp(%(until)s) then username_at end
 where unit_id = %(unit_id)s and id = any(%(contacts)s)
   and ((name is not null and coalesce(name_at, '-infinity') <= to_timestamp(%(until)s))
        or (username is not null and username_at <= to_timestamp(%(until)s)));
