-- The rule by which a unit belongs to an organization, said once; and what is told of units and messages, said once.

-- The units of an organization, or those `chosen` of them: a hook, a stream or a token is told of each since it came. Within
-- a second, as times from WhatsApp are whole seconds.
create function zapline.members(organization uuid, chosen uuid[])
    returns table (unit_id uuid, added_at timestamptz, since timestamptz) language sql stable as $$
    select o.unit_id, o.added_at, date_trunc('second', o.added_at) from zapline.organization_units o
     where o.organization_id = organization and (chosen is null or o.unit_id = any(chosen))
$$;

-- As in 0034; and an organization's hook is told nothing that happened before it was made.
create or replace function zapline.deliver_events() returns trigger language plpgsql as $$
begin
    insert into zapline.hook_deliveries (id, hook_id, unit_id, event, subject, facts)
    select zapline.delivery_id(d.hook_id, d.id), d.hook_id, d.unit_id, d.event, d.subject, d.facts
      from (select h.id as hook_id, e.*
              from fresh e
              join zapline.hooks h on h.unit_id = e.unit_id and h.disabled_at is null and e.event = any(h.events)
             where e.happened_at is null or e.happened_at >= date_trunc('second', h.created_at)
            union all
            select h.id, e.*
              from fresh e
              join zapline.organization_units o on o.unit_id = e.unit_id
              join zapline.hooks h on h.organization_id = o.organization_id and h.disabled_at is null
                                  and e.event = any(h.events)
              join zapline.members(h.organization_id, h.units) m on m.unit_id = e.unit_id
             where e.happened_at is null
                or e.happened_at >= m.since and e.happened_at >= date_trunc('second', h.created_at)) d
     order by d.seq;
    return null;
end
$$;

-- When a piece of news happened: null, just now; else it was read back.
create function zapline.news_time(live boolean, at timestamptz) returns timestamptz language sql immutable
return case when live then null else at end;

-- How a unit's line stands.
create function zapline.status_news(c zapline.unit_whatsapp_connections, held text) returns zapline.news
    language sql immutable
return (c.unit_id, 'unit.status', null::uuid,
        jsonb_build_object('status', c.status, 'reason', c.status_reason, 'phase', c.phase,
                           'connectedAt', extract(epoch from c.connected_at),
                           'disconnectedAt', extract(epoch from c.disconnected_at),
                           'updatedAt', extract(epoch from c.updated_at), 'campaignsHeld', held),
        null::timestamptz)::zapline.news;

create or replace function zapline.tell_status() returns trigger language plpgsql as $$
begin
    perform zapline.tell(array[zapline.status_news(new, u.campaigns_held_reason)])
       from zapline.units u where u.id = new.unit_id;
    return null;
end
$$;

create or replace function zapline.tell_campaigns_held() returns trigger language plpgsql as $$
begin
    perform zapline.tell(array[zapline.status_news(c, new.campaigns_held_reason)])
       from zapline.unit_whatsapp_connections c where c.unit_id = new.id;
    return null;
end
$$;

create or replace function zapline.tell_created() returns trigger language plpgsql as $$
begin
    if zapline.anybody_listens() and exists (select from fresh) then
        perform zapline.tell(array_agg(
            (f.unit_id, case when f.from_me then 'message.sent' else 'message.received' end, f.id, null,
             zapline.news_time(f.origin = 'live' and not f.backfilled, f.sent_at))::zapline.news order by f.seq))
           from fresh f where f.client_message_id is null;
    end if;
    return null;
end
$$;

create or replace function zapline.tell_calls() returns trigger language plpgsql as $$
begin
    if zapline.anybody_listens() and exists (select from fresh where kind = 'call_log') then
        perform zapline.tell(array_agg(
            (f.unit_id, 'call.changed', f.id, null,
             zapline.news_time(f.origin = 'live' and not f.backfilled, f.sent_at))::zapline.news order by f.seq))
           from fresh f where f.kind = 'call_log';
    end if;
    return null;
end
$$;

-- A unit that was archived has left its organization.
alter table zapline.organization_units no force row level security;
delete from zapline.organization_units o using zapline.unit_whatsapp_connections c
 where c.unit_id = o.unit_id and c.archived_at is not null;
alter table zapline.organization_units force row level security;
