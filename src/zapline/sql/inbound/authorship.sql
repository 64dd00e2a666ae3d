-- What strangers say about messages of others.

-- name: insert_dead_letters
-- Stores what could not be used, with the reason; once per journal entry.
insert into zapline.dead_letters (unit_id, reason, detail, event, raw, size, received_at, journal_id, journal_seq)
select r.unit_id, r.reason, r.detail, r.event, decode(r.raw, 'base64'), r.size, to_timestamp(r.received_at),
       r.journal_id, r.journal_seq
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, reason text, detail text, event text, raw text, size bigint,
                                         received_at float8, journal_id uuid, journal_seq bigint)
on conflict (journal_id, journal_seq) do nothing
returning unit_id, reason;

-- name: bury_reactions
-- Removes reactions and votes from messages that are about to be stored, where they came from other conversations, or
-- where that cannot be told yet.
delete from zapline.message_reactions x
 using jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text, conversation_id uuid,
                                         from_me boolean, sender text)
 where x.unit_id = r.unit_id and x.provider = r.provider and x.external_id = r.external_id and x.claim <> ''
   and zapline.fits(x.claim, r.unit_id, r.conversation_id, r.from_me, r.sender) is not true
   -- Those to a message that is there were compared with it; whoever uses its id now says nothing of them.
   and not exists (select from zapline.messages m where m.unit_id = r.unit_id and m.provider = r.provider
                                                    and m.external_id = r.external_id)
returning x.unit_id, x.external_id,
          zapline.fits(x.claim, r.unit_id, r.conversation_id, r.from_me, r.sender) is false as proven,
          jsonb_build_object('provider', x.provider, 'live', x.live, 'entries', x.entries, 'kind', x.kind, 'actor', x.actor, 'value', x.value, 'at_ms', x.at_ms, 'claim', x.claim,
                             'received_at', extract(epoch from x.received_at)::float8) as said;
