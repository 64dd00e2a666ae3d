-- What a message says beside its text: what it quotes, better copies of photos and videos, calls that go on.

-- What the message answers, as WhatsApp sends it along: the original may be unknown.
alter table zapline.messages add column quoted jsonb;

-- A photo or video in HD comes as two messages. The second has no row: its id leads to the first one's.
create table zapline.message_aliases (
    unit_id     uuid not null references zapline.units,
    provider    text not null,
    external_id text not null,
    primary_id  text not null,
    created_at  timestamptz not null default now(),
    primary key (unit_id, provider, external_id)
);
create index message_aliases_by_primary on zapline.message_aliases (unit_id, provider, primary_id);

-- Of two files of one message the better copy, else the greater description: whichever came first.
create function zapline.better_media(one jsonb, other jsonb) returns jsonb language sql immutable
return case when one is null then other when other is null then one
            when coalesce((one ->> 'quality')::int, 0) > coalesce((other ->> 'quality')::int, 0) then one
            when coalesce((one ->> 'quality')::int, 0) < coalesce((other ->> 'quality')::int, 0) then other
            else greatest(one, other) end;

-- Two details of one message together; of a field that both have, the greater value.
create function zapline.merged_detail(one jsonb, other jsonb) returns jsonb language sql immutable
return case when one = other or other = '{}' then one when one = '{}' then other
            else (select jsonb_object_agg(name, greatest(one -> name, other -> name))
                    from (select jsonb_object_keys(one) union select jsonb_object_keys(other)) as k(name)) end;

-- A better copy, and how a call went on, are told as a change of the message: to who polls (0016 adds the column) and to
-- the CRM's webhooks.
create function zapline.count_completed() returns trigger language plpgsql as $$
begin
    new.changed_seq := nextval('zapline.messages_seq_seq');
    return new;
end
$$;
create trigger count_completed before update on zapline.messages
    for each row when (new.kind_rank = old.kind_rank and new.deleted_at is null
                       and (new.media ->> 'quality' is distinct from old.media ->> 'quality'
                            or (new.kind = 'call_log' and new.detail is distinct from old.detail)))
    execute function zapline.count_completed();
create function zapline.tell_completed() returns trigger language plpgsql as $$
begin
    insert into zapline.hook_deliveries (hook_id, unit_id, event, subject)
    select h.id, h.unit_id, 'message.edited', new.id
      from zapline.hooks h
     where h.unit_id = new.unit_id and h.disabled_at is null and 'message.edited' = any(h.events);
    return null;
end
$$;
create trigger tell_completed after update on zapline.messages
    for each row when (new.kind_rank = old.kind_rank and new.deleted_at is null
                       and (new.media ->> 'quality' is distinct from old.media ->> 'quality'
                            or (new.kind = 'call_log' and new.detail is distinct from old.detail)))
    execute function zapline.tell_completed();

alter table zapline.message_aliases enable row level security;
alter table zapline.message_aliases force row level security;
create policy engine on zapline.message_aliases to zapline_engine using (true) with check (true);
create policy api on zapline.message_aliases to zapline_api using (
    unit_id = nullif(current_setting('zapline.unit', true), '')::uuid
    or current_setting('zapline.scope', true) = 'admin');
grant select, insert, update, delete on zapline.message_aliases to zapline_engine;
grant select on zapline.message_aliases to zapline_api;
