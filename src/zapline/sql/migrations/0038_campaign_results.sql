-- Campaigns that one can judge: several wordings, what became of each recipient, and what an organization's units share.

alter table zapline.campaigns
    -- The texts, or captions of its file, that recipients get in turn. Null: the one of its content.
    add column wordings jsonb check (jsonb_typeof(wordings) = 'array' and jsonb_array_length(wordings) between 2 and 5);

alter table zapline.organizations
    -- At most so many messages of campaigns to one person within so many days, from all of its units together. Null: no
    -- limit.
    add column campaign_messages integer check (campaign_messages between 1 and 1000),
    add column campaign_days integer check (campaign_days between 1 and 365),
    -- Whoever wants no campaigns of one unit gets none of the others either.
    add column shared_opt_outs boolean not null default true,
    add constraint organizations_campaign_limit check ((campaign_messages is null) = (campaign_days is null));

-- What became of each recipient of a campaign. A reply is the first message of the person within seven days that is not
-- the wish for no more campaigns; that wish counts within seven days, too. Times that nobody has told are those of the
-- sending; those of messages that were deleted since are null. Plain enough for the planner to take it apart.
create function zapline.recipient_outcomes(unit uuid, campaign uuid) returns table (
    number integer, recipient text, parameters jsonb, state text, reason text, detail text, message_id uuid,
    sent_at timestamptz, delivered_at timestamptz, read_at timestamptz, replied_at timestamptz, opted_out_at timestamptz)
    language sql stable as $$
select r.number, r.recipient, r.parameters, s.state,
       coalesce(r.reason, o.failure,
                case when m.delivery = 'failed' and o.state = 'settled' then coalesce(m.refusal, 'whatsapp_refused') end),
       coalesce(r.detail, o.failure_detail), r.message_id, t.sent_at,
       case when s.state in ('delivered', 'read') then
           greatest(t.sent_at, least(m.told_delivered_at, m.told_read_at, m.told_played_at)) end,
       case when s.state = 'read' then greatest(t.sent_at, least(m.told_read_at, m.told_played_at)) end,
       a.replied_at, w.opted_out_at
  from zapline.campaign_recipients r
  left join zapline.outbox o on o.message_id = r.message_id and o.campaign_id = r.campaign_id
  left join zapline.messages m on m.id = r.message_id
 cross join lateral (
       select coalesce(r.ended_as, zapline.recipient_state(r.state, o.state, m.delivery)) as state) s
 cross join lateral (
       select case when s.state in ('sent', 'delivered', 'read', 'undelivered') then coalesce(o.settled_at, m.sent_at) end
                  as sent_at) t
  left join lateral (
       select u.created_at as opted_out_at, u.external_id
         from (select r.recipient as canonical
               union all
               select l.canonical
                 from zapline.conversations p join zapline.contacts l on l.id = p.contact_id
                where p.merged_into = m.conversation_id) n
         join zapline.suppressions u on u.unit_id = r.unit_id and u.canonical = n.canonical
        where u.reason = 'opt_out' and u.created_at >= t.sent_at and u.created_at < t.sent_at + interval '7 days'
        order by u.created_at limit 1) w on true
  left join lateral (
       select min(f.sent_at) as replied_at
         from (select m.conversation_id as id
               union all
               select p.id from zapline.conversations p where p.merged_into = m.conversation_id) v
        cross join lateral (
              select i.sent_at from zapline.messages i
               where i.conversation_id = v.id and not i.from_me and i.kind <> 'call_log'
                 and i.external_id is distinct from w.external_id
                 and i.sent_at >= date_trunc('second', t.sent_at) and i.sent_at < t.sent_at + interval '7 days'
               order by i.sent_at limit 1) f) a on true
 where r.unit_id = unit and r.campaign_id = campaign
$$;

-- Under which names somebody is suppressed, as in 0002; and, where the unit's organization shares these wishes, what he
-- has said to its other units.
create or replace function zapline.opted_out(unit uuid, who text) returns setof text language sql stable
begin atomic
    select s.canonical from zapline.suppressions s where s.unit_id = unit and s.canonical = who
    union all
    select s.canonical
      from zapline.contacts k
      join zapline.conversations c on c.unit_id = k.unit_id and c.contact_id = k.id
      join zapline.conversations p on p.merged_into = c.id
      join zapline.contacts l on l.id = p.contact_id
      join zapline.suppressions s on s.unit_id = l.unit_id and s.canonical = l.canonical
     where k.unit_id = unit and k.canonical = who
    union all
    select s.canonical
      from zapline.organization_units o
      join zapline.organizations g on g.id = o.organization_id and g.shared_opt_outs
      join zapline.organization_units other on other.organization_id = o.organization_id and other.unit_id <> o.unit_id
      join zapline.suppressions s on s.unit_id = other.unit_id and s.canonical = who
     where o.unit_id = unit
    union all
    select s.canonical
      from zapline.organization_units o
      join zapline.organizations g on g.id = o.organization_id and g.shared_opt_outs
      join zapline.organization_units other on other.organization_id = o.organization_id and other.unit_id <> o.unit_id
      join zapline.contacts k on k.unit_id = other.unit_id and k.canonical = who
      join zapline.conversations c on c.unit_id = k.unit_id and c.contact_id = k.id
      join zapline.conversations p on p.merged_into = c.id
      join zapline.contacts l on l.id = p.contact_id
      join zapline.suppressions s on s.unit_id = l.unit_id and s.canonical = l.canonical
     where o.unit_id = unit;
end;
