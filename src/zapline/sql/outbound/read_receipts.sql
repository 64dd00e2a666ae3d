-- Unread messages, and how far a person has read each conversation.

-- name: find_unread
-- The newest incoming messages of a conversation, and of all merged into it, after what has been read.
select m.external_id, m.seq
  from zapline.conversations r
  join zapline.conversations p on p.unit_id = r.unit_id and (p.id = r.id or p.merged_into = r.id)
  join zapline.messages m on m.conversation_id = p.id and m.seq > greatest(r.read_up_to, p.read_up_to)
 where r.unit_id = %(unit_id)s and r.id = %(conversation_id)s and not m.from_me and m.external_id is not null
   and m.kind <> 'call_log'
 order by m.seq desc
 limit %(limit)s;

-- name: find_replied_conversation
-- The conversation of a message that a person or a CRM has written. No row: it is a campaign's, or an answer of our own.
select o.conversation_id from zapline.outbox o
  join zapline.messages m on m.id = o.message_id
 where o.unit_id = %(unit_id)s and o.message_id = %(message)s and o.lane = 'reply' and o.campaign_id is null
   and m.client_message_id not like 'optout:%%';

-- name: mark_read_up_to
-- Stores how far a conversation has been read.
update zapline.conversations set read_up_to = %(seq)s
 where unit_id = %(unit_id)s and id = %(conversation_id)s and read_up_to < %(seq)s;

-- name: mark_unread
-- Counts the newest incoming message of a conversation, and of all merged into it, as unread again, where it was read.
with newest as (
    select m.seq
      from zapline.conversations p
     cross join lateral (
           select x.seq, x.sent_at from zapline.messages x
            where x.conversation_id = p.id and not x.from_me and x.kind <> 'reaction'
            order by x.sent_at desc, x.seq desc limit 1) m
     where p.unit_id = %(unit_id)s and (p.id = %(conversation_id)s or p.merged_into = %(conversation_id)s)
     order by m.sent_at desc, m.seq desc limit 1)
update zapline.conversations c set read_up_to = newest.seq - 1
  from newest
 where c.unit_id = %(unit_id)s and (c.id = %(conversation_id)s or c.merged_into = %(conversation_id)s)
   and c.read_up_to >= newest.seq;
