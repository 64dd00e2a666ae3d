-- What WhatsApp encrypts under the secret of an earlier message: edits, votes, answers to events. The secrets are kept
-- apart from the messages, because they are needed for a day and the messages for years.

-- Encrypted under a key that is derived from the master key, bound to the unit and the message's id: a dump opens
-- nothing. Several of one message: whoever claims its id cannot put another's secret in the place of the true one.
-- No reference to units: it would cost a look for each message.
create table zapline.message_secrets (
    unit_id         uuid not null,
    provider        text not null,
    external_id     text not null,
    sealed          bytea not null,
    conversation_id uuid not null,
    -- Of a poll or an event: it stays as long as that message.
    lasting         boolean not null,
    received_at     timestamptz not null,
    primary key (unit_id, provider, external_id, sealed)
);
create index message_secrets_by_age on zapline.message_secrets (received_at);

-- Reports that could not be opened yet: their message, its secret or a name of somebody is not known.
create table zapline.encrypted_reports (
    unit_id         uuid not null references zapline.units,
    provider        text not null,
    -- The message that it is about, and the one that carried it.
    external_id     text not null,
    report_id       text not null,
    use             text not null,
    conversation_id uuid not null,
    -- The chat, and who sent it: canonical identities, or 'me'.
    chat            text not null,
    actor           text not null,
    jids            text[] not null,
    payload         bytea not null,
    nonce           bytea not null,
    at_ms           bigint not null,
    received_at     timestamptz not null,
    -- Whether it was reported as it happened, not read from a history or from Evolution's store.
    live            boolean not null,
    -- When it was last tried with a secret, and in vain.
    tried_at        timestamptz,
    primary key (unit_id, provider, external_id, report_id)
);
create index encrypted_reports_by_age on zapline.encrypted_reports (received_at);

-- The time of the latest edit that nobody could read, and up to when edits were read: the text is unknown while the
-- first is later than the second. Both only grow, so the order of reports cannot matter.
alter table zapline.messages add column edit_unread_ms bigint, add column edit_read_ms bigint;
alter table zapline.parked_reports add column edit_unread_ms bigint, add column edit_read_ms bigint;

create function zapline.edit_is_unread(unread bigint, opened bigint, edited bigint) returns boolean
    language sql immutable
return unread is not null and unread > coalesce(greatest(opened, edited), -1);

-- An edit whose text nobody could read is told as one, and told again where it was read after all.
create or replace function zapline.tell_changed() returns trigger language plpgsql set enable_nestloop = off as $$
begin
    if exists (select from zapline.hooks where disabled_at is null) and exists (select from later) then
        insert into zapline.hook_deliveries (hook_id, unit_id, event, subject, facts)
        select h.id, h.unit_id, e.event, n.id, e.facts
          from earlier o
          join later n on n.id = o.id
          join zapline.hooks h on h.unit_id = n.unit_id and h.disabled_at is null
         cross join lateral (values
               ('message.delivery', n.from_me and n.delivery is distinct from o.delivery,
                jsonb_build_object('deliveryStatus', n.delivery)),
               ('message.edited', n.edited_at_ms is distinct from o.edited_at_ms or n.kind_rank > o.kind_rank
                or zapline.edit_is_unread(n.edit_unread_ms, n.edit_read_ms, n.edited_at_ms)
                   and n.edit_unread_ms is distinct from o.edit_unread_ms, '{}'),
               ('message.deleted', n.deleted_at is not null and o.deleted_at is null, '{}')) as e(event, happened, facts)
         where e.happened and e.event = any(h.events)
         order by n.seq;
    end if;
    return null;
end
$$;

do $$
declare
    name text;
begin
    foreach name in array array['message_secrets', 'encrypted_reports']
    loop
        execute format('alter table zapline.%I enable row level security', name);
        execute format('alter table zapline.%I force row level security', name);
        execute format('create policy engine on zapline.%I to zapline_engine using (true) with check (true)', name);
        execute format($f$create policy api on zapline.%I to zapline_api using (
            unit_id = nullif(current_setting('zapline.unit', true), '')::uuid
            or current_setting('zapline.scope', true) = 'admin')$f$, name);
        execute format('grant select, insert, update, delete on zapline.%I to zapline_engine', name);
        execute format('grant select on zapline.%I to zapline_api', name);
    end loop;
end
$$;
