-- What the brake of campaigns looks at, and its hold.

-- name: list_recent_sends
-- The last campaign messages of a unit, and all that WhatsApp has refused, since a person released the campaigns.
with since as (
    select greatest(u.campaigns_released_at, to_timestamp(%(since)s)) as at from zapline.units u where u.id = %(unit_id)s
)
(select extract(epoch from a.started_at)::float8 as started_at, true as campaign,
        m.delivery in ('delivered', 'read', 'played') as confirmed,
        case when m.delivery = 'failed' and a.outcome = 'sent' then coalesce(m.refusal, %(refused)s) end as refusal
   from since, zapline.attempts a
   join zapline.messages m on m.id = a.message_id
  where a.unit_id = %(unit_id)s and a.lane = 'campaign' and a.started_at > since.at and a.outcome in ('calling', 'sent')
  order by a.started_at desc
  limit %(limit)s)
union all
(select extract(epoch from m.sent_at)::float8, false, false, coalesce(m.refusal, %(refused)s)
   from since, zapline.messages m
  where m.unit_id = %(unit_id)s and m.refused_at > since.at and m.sent_at > since.at and m.from_me
    and m.delivery = 'failed'
    and not exists (select from zapline.attempts a where a.message_id = m.id and a.lane = 'campaign')
  order by m.refused_at desc
  limit %(limit)s);

-- name: tells_statuses
-- Whether Evolution keeps the unit's messages; null: not known yet.
select store_kept from zapline.unit_whatsapp_connections where unit_id = %(unit_id)s;

-- name: hold_campaigns
-- Holds the campaigns of a unit until a person releases them. No row back: they are held already.
update zapline.units
   set campaigns_held_at = now(), campaigns_held_reason = %(reason)s
 where id = %(unit_id)s and campaigns_held_at is null
returning extract(epoch from campaigns_held_at)::float8 as held_at;

-- name: release_campaigns
-- Ends the hold; what was refused until now does not count again.
update zapline.units
   set campaigns_held_at = null, campaigns_held_reason = null, campaigns_released_at = now()
 where id = %(unit_id)s and campaigns_held_at is not null and archived_at is null
returning id;
