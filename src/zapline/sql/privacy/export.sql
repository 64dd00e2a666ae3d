-- Personal data of one person, as objects for the person to read.

-- name: load_person
-- The contacts, identities, conversations, suppressions, campaigns and reactions of a person.
select jsonb_build_object(
    'contacts', coalesce((
        select jsonb_agg(jsonb_build_object('name', k.name, 'username', k.username, 'phone', k.phone, 'lid', k.lid, 'knownSince', k.created_at)
                         order by k.created_at, k.id)
          from zapline.contacts k where k.unit_id = %(unit_id)s and k.canonical = any(%(names)s)), '[]'),
    'identities', coalesce((
        select jsonb_agg(jsonb_build_object('identity', i.identity, 'seenSince', i.created_at) order by i.identity)
          from zapline.contact_identities i
          join zapline.contacts k on k.id = i.contact_id
         where i.unit_id = %(unit_id)s and k.canonical = any(%(names)s)), '[]'),
    'conversations', coalesce((
        select jsonb_agg(jsonb_build_object('id', c.id, 'mergedInto', c.merged_into, 'since', c.created_at,
                                            'lastMessageAt', c.last_message_at) order by c.created_at, c.id)
          from zapline.conversations c
          join zapline.contacts k on k.id = c.contact_id
         where c.unit_id = %(unit_id)s and k.canonical = any(%(names)s)), '[]'),
    'suppressions', coalesce((
        select jsonb_agg(jsonb_build_object('name', s.canonical, 'reason', s.reason, 'word', s.word,
                                            'since', s.created_at) order by s.created_at)
          from zapline.suppressions s where s.unit_id = %(unit_id)s and s.canonical = any(%(names)s)), '[]'),
    'campaigns', coalesce((
        select jsonb_agg(jsonb_build_object('campaign', c.name, 'parameters', r.parameters,
                             'state', coalesce(r.ended_as, zapline.recipient_state(r.state, o.state, m.delivery)),
                             'reason', r.reason, 'messageId', r.message_id) order by c.created_at, r.number)
          from zapline.campaign_recipients r
          join zapline.campaigns c on c.id = r.campaign_id
          left join zapline.outbox o on o.message_id = r.message_id
          left join zapline.messages m on m.id = r.message_id
         where r.unit_id = %(unit_id)s and r.recipient = any(%(names)s)), '[]'),
    'numberChecks', coalesce((
        select jsonb_agg(jsonb_build_object('phone', n.phone, 'onWhatsapp', n.on_whatsapp, 'whatsappId', n.whatsapp_id,
                                            'checkedAt', n.checked_at) order by n.phone)
          from zapline.number_checks n
         where n.unit_id = %(unit_id)s
           and (n.phone = any(%(names)s) or n.phone in (
                    select m.phone from zapline.group_members m
                     where m.unit_id = %(unit_id)s and (m.canonical = any(%(names)s) or m.lid = any(%(lids)s))))), '[]'),
    'groups', coalesce((
        select jsonb_agg(jsonb_build_object('group', k.canonical, 'name', k.name, 'role', m.role) order by k.canonical)
          from zapline.group_members m
          join zapline.contacts k on k.id = m.group_id
         where m.unit_id = %(unit_id)s
           and (m.canonical = any(%(names)s) or m.phone = any(%(names)s) or m.lid = any(%(lids)s))), '[]'),
    'reactions', coalesce((
        select jsonb_agg(jsonb_build_object('toMessage', x.external_id, 'kind', x.kind, 'value', x.value,
                                            'at', x.received_at) order by x.received_at)
          from zapline.message_reactions x where x.unit_id = %(unit_id)s and x.actor = any(%(names)s)), '[]')) as data;

-- name: list_messages
-- A piece of the person's messages in arrival order: those of the conversations, and those sent to groups.
select m.seq, jsonb_build_object(
    'id', m.id, 'conversationId', m.conversation_id, 'fromMe', m.from_me, 'kind', m.kind, 'text', m.body,
    'editedText', m.edited_body, 'deletedAt', m.deleted_at, 'media', m.media, 'detail', m.detail, 'quoted', m.quoted,
    'sender', m.sender, 'senderName', m.sender_name, 'delivery', case when m.from_me then m.delivery end, 'sentAt', m.sent_at, 'receivedAt', m.received_at,
    'reactions', coalesce((
        select jsonb_agg(jsonb_build_object('actor', x.actor, 'kind', x.kind, 'value', x.value) order by x.actor)
          from zapline.message_reactions x
         where x.unit_id = m.unit_id and x.provider = m.provider and x.external_id = m.external_id), '[]')) as message
  from zapline.messages m
 where m.unit_id = %(unit_id)s and m.seq > %(after)s
   and (m.conversation_id = any(%(conversations)s) or m.sender = any(%(names)s))
 order by m.seq
 limit %(limit)s;

-- name: count_personal_data
-- Counts of the rows about a person.
select (select count(*) from zapline.messages m where m.unit_id = %(unit_id)s
           and m.conversation_id = any(%(conversations)s::uuid[])) as messages,
       (select count(*) from zapline.messages m where m.unit_id = %(unit_id)s and m.sender = any(%(names)s)
           and m.conversation_id <> all(%(conversations)s::uuid[])) as in_groups,
       (select count(*) from zapline.messages m where m.unit_id = %(unit_id)s
           and m.conversation_id = any(%(conversations)s::uuid[]) and m.media is not null) as files,
       (select count(*) from zapline.message_reactions x where x.unit_id = %(unit_id)s
           and x.actor = any(%(names)s)) as reactions,
       (select count(*) from zapline.campaign_recipients r where r.unit_id = %(unit_id)s
           and r.recipient = any(%(names)s)) as campaigns,
       (select count(*) from zapline.suppressions s where s.unit_id = %(unit_id)s
           and s.canonical = any(%(names)s)) as suppressions;
