-- Messages as they arrive, once or more often.

-- fragment: says_more
-- Whether a message that comes again says something that is not known.
(excluded.kind_rank > m.kind_rank
    or (excluded.kind_rank = m.kind_rank
        and (excluded.kind collate "C" > m.kind
             or excluded.body collate "C" > m.body or (m.body is null and excluded.body is not null)
             or zapline.better_media(m.media, excluded.media) is distinct from m.media
             or zapline.merged_detail(m.detail, excluded.detail) <> m.detail
             or excluded.raw > m.raw or (m.raw is null and excluded.raw is not null)))
    or excluded.sender collate "C" < m.sender or (m.sender is null and excluded.sender is not null)
    or excluded.sender_name collate "C" > m.sender_name
    or (m.sender_name is null and excluded.sender_name is not null)
    or excluded.quoted_id collate "C" > m.quoted_id or (m.quoted_id is null and excluded.quoted_id is not null)
    or excluded.quoted > m.quoted or (m.quoted is null and excluded.quoted is not null)
    or (excluded.forwarded and not m.forwarded)
    or (excluded.view_once and not m.view_once)
    or excluded.expires_after > m.expires_after or (m.expires_after is null and excluded.expires_after is not null)
    or excluded.source collate "C" > m.source or (m.source is null and excluded.source is not null)
    or excluded.origin collate "C" > m.origin
    or (m.backfilled and not excluded.backfilled)
    or excluded.delivery > m.delivery or (m.delivery is null and excluded.delivery is not null)
    or excluded.sent_at < m.sent_at)

-- name: upsert_messages
-- Stores messages; a duplicate is merged into the row that exists. The first arrival sets the sequence number, content
-- replaces the kind `unknown`, gaps are filled. Returns the rows that are new and those that gained content.
insert into zapline.messages as m (
    id, unit_id, conversation_id, provider, external_id, from_me, kind, kind_rank, body, media, detail, raw,
    sender, sender_name, quoted_id, quoted, forwarded, view_once, expires_after, source, origin, backfilled, delivery,
    sent_at, received_at)
select r.id, r.unit_id, r.conversation_id, r.provider, r.external_id, r.from_me, r.kind, r.kind_rank, r.body,
       r.media, coalesce(r.detail, '{}'), decode(r.raw, 'base64'), r.sender, r.sender_name, r.quoted_id,
       r.quoted, coalesce(r.forwarded, false), coalesce(r.view_once, false), r.expires_after, r.source, r.origin,
       coalesce(r.backfilled, false), r.delivery, to_timestamp(r.sent_at), to_timestamp(r.received_at)
  from jsonb_to_recordset(%(rows)s) as r(
       ord int, id uuid, unit_id uuid, conversation_id uuid, provider text, external_id text, from_me boolean,
       kind text, kind_rank smallint, body text, media jsonb, detail jsonb, raw text, sender text,
       sender_name text, quoted_id text, quoted jsonb, forwarded boolean, view_once boolean, expires_after int, source text,
       origin text, backfilled boolean, delivery zapline.delivery, sent_at float8, received_at float8)
 order by r.ord
on conflict (unit_id, provider, external_id) do update
   -- A message that was sent through Zapline stays in the conversation that it was sent to.
   set conversation_id = case when m.client_message_id is not null then m.conversation_id
                              else least(m.conversation_id, excluded.conversation_id) end,
       kind = case when excluded.kind_rank > m.kind_rank then excluded.kind
                   when excluded.kind_rank < m.kind_rank then m.kind
                   else greatest(m.kind collate "C", excluded.kind collate "C") end,
       body = case when excluded.kind_rank > m.kind_rank then excluded.body
                   when excluded.kind_rank < m.kind_rank then m.body
                   else greatest(m.body collate "C", excluded.body collate "C") end,
       media = case when excluded.kind_rank > m.kind_rank then excluded.media
                    when excluded.kind_rank < m.kind_rank then m.media
                    else zapline.better_media(m.media, excluded.media) end,
       detail = case when excluded.kind_rank > m.kind_rank then excluded.detail
                     when excluded.kind_rank < m.kind_rank then m.detail
                     else zapline.merged_detail(m.detail, excluded.detail) end,
       raw = case when excluded.kind_rank > m.kind_rank then excluded.raw
                  when excluded.kind_rank < m.kind_rank then m.raw
                  else greatest(m.raw, excluded.raw) end,
       kind_rank = greatest(m.kind_rank, excluded.kind_rank),
       sender = least(m.sender collate "C", excluded.sender collate "C"),
       sender_name = greatest(m.sender_name collate "C", excluded.sender_name collate "C"),
       quoted_id = greatest(m.quoted_id collate "C", excluded.quoted_id collate "C"),
       quoted = greatest(m.quoted, excluded.quoted),
       forwarded = m.forwarded or excluded.forwarded,
       view_once = m.view_once or excluded.view_once,
       expires_after = greatest(m.expires_after, excluded.expires_after),
       source = greatest(m.source collate "C", excluded.source collate "C"),
       origin = greatest(m.origin collate "C", excluded.origin collate "C"),
       backfilled = m.backfilled and excluded.backfilled,
       delivery = greatest(m.delivery, excluded.delivery),
       sent_at = least(m.sent_at, excluded.sent_at)
 where (
       -- include: says_more
    or (excluded.conversation_id < m.conversation_id and m.client_message_id is null))
   -- Whoever sends a message chooses its id: only his own comes again.
   and zapline.same_origin(excluded.unit_id, excluded.conversation_id, excluded.from_me, excluded.sender,
                           m.conversation_id, m.from_me, m.sender)
returning m.unit_id, m.external_id, m.id, (xmax = 0) as created, m.seq, m.conversation_id;

-- name: find_strangers
-- Of these messages, those whose id another message has (proven), and those of which that cannot be told yet.
select r.unit_id, r.external_id, o.own is false as proven
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text, conversation_id uuid,
                                         from_me boolean, sender text)
  join zapline.messages m on m.unit_id = r.unit_id and m.provider = r.provider and m.external_id = r.external_id
 cross join lateral (select zapline.same_origin(r.unit_id, r.conversation_id, r.from_me, r.sender,
                                                m.conversation_id, m.from_me, m.sender)) as o(own)
 where o.own is not true;

-- name: find_news
-- Those of these messages that say something more than the ones that are there, or something else.
select excluded.unit_id, excluded.external_id
  from (select r.unit_id, r.provider, r.external_id, r.kind, r.kind_rank, r.body, r.media,
               coalesce(r.detail, '{}') as detail, decode(r.raw, 'base64') as raw, r.sender, r.sender_name,
               r.quoted_id, r.quoted, coalesce(r.forwarded, false) as forwarded,
               coalesce(r.view_once, false) as view_once, r.expires_after, r.source, r.origin,
               coalesce(r.backfilled, false) as backfilled, r.delivery, to_timestamp(r.sent_at) as sent_at
          from jsonb_to_recordset(%(rows)s) as r(
               ord int, id uuid, unit_id uuid, conversation_id uuid, provider text, external_id text, from_me boolean,
               kind text, kind_rank smallint, body text, media jsonb, detail jsonb, raw text, sender text,
               sender_name text, quoted_id text, quoted jsonb, forwarded boolean, view_once boolean, expires_after int, source text,
               origin text, backfilled boolean, delivery zapline.delivery, sent_at float8, received_at float8)) excluded
  join zapline.messages m on m.unit_id = excluded.unit_id and m.provider = excluded.provider
                         and m.external_id = excluded.external_id
 where
       -- include: says_more
    or (excluded.kind_rank = m.kind_rank and excluded.body is not null
        and (excluded.kind, excluded.body) is distinct from (m.kind, m.body));

-- name: find_roots
-- Which of these conversations are merged into another one.
select id, merged_into from zapline.conversations where id = any(%(ids)s) and merged_into is not null;

-- name: store_second_ids
-- Stores second ids, where the copy's sender is the message's. Returns them all that belong to a message.
with r as (
    select distinct on (c.unit_id, c.provider, c.external_id) c.*
      from jsonb_to_recordset(%(rows)s) as c(unit_id uuid, provider text, external_id text, primary_id text,
                                             from_me boolean, sender text, conversation_id uuid)
     order by c.unit_id, c.provider, c.external_id, c.primary_id
), own as (
    select r.unit_id, r.provider, r.external_id, r.primary_id
      from r
      join zapline.messages m on m.unit_id = r.unit_id and m.provider = r.provider and m.external_id = r.primary_id
      join zapline.conversations a on a.id = m.conversation_id
      join zapline.conversations b on b.id = r.conversation_id
     where m.from_me = r.from_me and coalesce(m.sender, '') = coalesce(r.sender, '')
       and coalesce(a.merged_into, a.id) = coalesce(b.merged_into, b.id) and r.external_id <> r.primary_id
), stored as (
    insert into zapline.message_aliases (unit_id, provider, external_id, primary_id)
    select unit_id, provider, external_id, primary_id from own
    on conflict (unit_id, provider, external_id) do nothing)
select unit_id, external_id from own;

-- name: find_primary_ids
-- The ids of the messages to which these second ids lead.
select a.unit_id, a.external_id, a.primary_id
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text)
  join zapline.message_aliases a on a.unit_id = r.unit_id and a.provider = r.provider and a.external_id = r.external_id;
