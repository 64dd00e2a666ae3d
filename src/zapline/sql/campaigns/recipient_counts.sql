-- How many recipients of campaigns stand where.

-- name: count_recipients
-- Counts of recipients by campaign, state and reason, from the rows themselves. A reason have those who were not sent a
-- message, or not certainly. Only those with a message are looked up in the outbox and among the messages.
select r.campaign_id, coalesce(r.ended_as, r.state) as state, case when r.state = 'skipped' then r.reason end as reason,
       count(*) as recipients
  from zapline.campaign_recipients r
 where r.unit_id = %(unit_id)s and r.campaign_id = any(%(ids)s) and r.state <> 'enqueued'
 group by 1, 2, 3
union all
select r.campaign_id, s.state,
       case when s.state in ('failed', 'undelivered', 'uncertain') then
           coalesce(r.reason, o.failure, case when m.delivery = 'failed' and o.state = 'settled'
                                              then coalesce(m.refusal, 'whatsapp_refused') end) end as reason,
       count(*)
  from zapline.campaign_recipients r
  left join zapline.outbox o on o.message_id = r.message_id and o.campaign_id = r.campaign_id
  left join zapline.messages m on m.id = r.message_id
 cross join lateral (select coalesce(r.ended_as, zapline.recipient_state(r.state, o.state, m.delivery)) as state) s
 where r.unit_id = %(unit_id)s and r.campaign_id = any(%(ids)s) and r.state = 'enqueued'
 group by 1, 2, 3;
