-- Messages that come again, and reactions, while it cannot be told whether they are by whoever may say them.

-- fragment: message
-- The message that it is about, also by a second id.
left join zapline.message_aliases a on a.unit_id = w.unit_id and a.provider = w.provider
                                     and a.external_id = w.external_id
  join zapline.messages m on m.unit_id = w.unit_id and m.provider = w.provider
                         and m.external_id = coalesce(a.primary_id, w.external_id)

-- name: keep_waiting
-- Keeps what waits; what is kept already is kept once. However old it is by the clock that dated it, it waits from now
-- on.
insert into zapline.waiting_facts as w (unit_id, provider, external_id, what, digest, said, entries, received_at)
select r.unit_id, r.provider, r.external_id, r.what, d.digest, min(r.said::text)::jsonb,
       zapline.some_entries(array_agg(e.entry) filter (where e.entry is not null), '{}'),
       greatest(to_timestamp(min(r.received_at)), now() - interval '1 hour')
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text, what text, said jsonb,
                                         entries text[], received_at float8)
 cross join lateral (select sha256(convert_to((r.said - '{ord,entries,received_at,live,backfilled}'::text[])::text,
                                              'UTF8')) as digest) d
  left join lateral unnest(r.entries) as e(entry) on true
 group by r.unit_id, r.provider, r.external_id, r.what, d.digest
 order by r.unit_id, r.provider, r.external_id, r.what, d.digest
on conflict (unit_id, provider, external_id, what, digest) do update
   set said = least(w.said::text collate "C", excluded.said::text)::jsonb,
       entries = zapline.some_entries(w.entries, excluded.entries),
       received_at = least(w.received_at, excluded.received_at), tried_at = now();

-- fragment: as_letters
-- What a dead letter needs. A message that says nothing else than the one that is there needs none.
w.unit_id, w.what, w.said, w.entries, extract(epoch from w.received_at)::float8 as received_at,
       w.what = 'reaction' or not exists (
           select from zapline.messages m
            where m.unit_id = w.unit_id and m.provider = w.provider and m.external_id = w.external_id
              and (m.kind, coalesce(w.said ->> 'body', m.body)) is not distinct from (w.said ->> 'kind', m.body)
       ) as says_else

-- name: drop_surplus
-- Of what waits, keeps only so much about one message, and of one unit: what came first. Returns the others.
delete from zapline.waiting_facts w
 using (select unit_id, provider, external_id, what, digest, place,
               row_number() over (partition by unit_id order by received_at, external_id, what, digest) as of_unit
          from (select w.unit_id, w.provider, w.external_id, w.what, w.digest, w.received_at,
                       row_number() over (partition by w.unit_id, w.provider, w.external_id
                                              order by w.received_at, w.what, w.digest) as place
                  from zapline.waiting_facts w where w.unit_id = any(%(units)s)) ranked) s
 where (w.unit_id, w.provider, w.external_id, w.what, w.digest)
       = (s.unit_id, s.provider, s.external_id, s.what, s.digest)
   and (s.place > %(of_message)s or s.of_unit > %(of_unit)s)
returning
       -- include: as_letters
;

-- name: take_linked
-- Removes and returns what can be told by now in these units, in which two names have become one person's.
delete from zapline.waiting_facts t
 using (select w.unit_id, w.provider, w.external_id, w.what, w.digest
          from zapline.waiting_facts w
               -- include: message
         where w.unit_id = any(%(units)s)
           and zapline.proves(w.what, w.said, m.unit_id, m.conversation_id, m.from_me, m.sender) is not null
         order by w.received_at limit %(limit)s) w
 where (t.unit_id, t.provider, t.external_id, t.what, t.digest)
       = (w.unit_id, w.provider, w.external_id, w.what, w.digest)
returning t.unit_id, t.what, t.said, t.entries, extract(epoch from t.received_at)::float8 as received_at;

-- name: find_due
-- What is to be compared once more: ever more rarely.
update zapline.waiting_facts t set tried_at = now()
  from (select w.unit_id, w.provider, w.external_id, w.what, w.digest
          from zapline.waiting_facts w
         where w.tried_at < now() - greatest(interval '1 minute', (now() - w.received_at) / 4)
         order by w.tried_at limit %(limit)s for update of w skip locked) w
 where (t.unit_id, t.provider, t.external_id, t.what, t.digest)
       = (w.unit_id, w.provider, w.external_id, w.what, w.digest)
returning t.unit_id;

-- name: expire
-- Removes what nobody has proven for so long, and returns it.
delete from zapline.waiting_facts w
 where w.received_at < now() - %(days)s * interval '1 day'
returning
       -- include: as_letters
;
