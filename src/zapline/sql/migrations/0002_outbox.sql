-- The outbound half: what is to be sent, each call that was made for it, echoes that nobody owns yet, campaigns,
-- who wants none, and how far each line was compared with Evolution's own store.

-- A unit's own limits. No row: the defaults of zapline.domain.pacer.
create table zapline.unit_paces (
    unit_id          uuid primary key references zapline.units,
    per_minute       float8 not null check (per_minute > 0),
    burst            integer not null check (burst >= 1),
    gap_seconds      float8 not null check (gap_seconds >= 0),
    daily_cap        integer check (daily_cap >= 1),
    -- Campaign messages on the line's first day; twice as many each day after. Null: no ramp.
    warm_up_first    integer check (warm_up_first >= 1),
    quiet_from       time,
    quiet_until      time,
    campaign_seconds float8 not null check (campaign_seconds > 0),
    -- Lanes whose uncertain messages are sent once more where Evolution's store proves their absence.
    resend_lanes     text[] not null default '{}',
    updated_at       timestamptz not null default now(),
    check ((quiet_from is null) = (quiet_until is null))
);

create table zapline.campaigns (
    id               uuid primary key,
    unit_id          uuid not null references zapline.units,
    name             text not null check (length(name) between 1 and 200),
    -- Loading: a list is being read in. Scheduled: started, and waits for its time.
    state            text not null default 'ready'
                     check (state in ('ready', 'loading', 'scheduled', 'running', 'paused', 'cancelled', 'done')),
    -- As zapline.domain.outbox.Outgoing, with {{variables}} in its texts.
    content          jsonb not null,
    -- Its own pace. Null: the unit's.
    seconds          float8 check (seconds > 0),
    window_from      time,
    window_until     time,
    start_at         timestamptz,
    started_at       timestamptz,
    ended_at         timestamptz,
    created_at       timestamptz not null default now(),
    -- Loading: recipients from this number on are of the list that is not read to its end.
    loading_from     integer,
    -- SHA-256 of what was asked, which tells a repetition from another request under the same client id.
    request_digest   bytea,
    client_campaign_id text,
    unique (unit_id, client_campaign_id),
    check ((window_from is null) = (window_until is null)),
    check ((state = 'loading') = (loading_from is not null))
);
create index campaigns_by_unit on zapline.campaigns (unit_id, created_at desc, id desc);
create index campaigns_at_work on zapline.campaigns (state) where state in ('loading', 'scheduled', 'running');

-- One row a recipient, with its parameters frozen. Where it stands is told by its outbox row once it has one.
create table zapline.campaign_recipients (
    campaign_id uuid not null references zapline.campaigns on delete cascade,
    number      integer not null,
    unit_id     uuid not null,
    -- Canonical identity; what was given where that names no phone.
    recipient   text not null,
    parameters  jsonb not null default '{}',
    state       text not null default 'pending' check (state in ('pending', 'enqueued', 'skipped', 'cancelled')),
    -- Why it is skipped, and what of it.
    reason      text,
    detail      text,
    -- Counts the times a failed one was given another chance; part of the message's client id.
    generation  smallint not null default 0,
    message_id  uuid,
    primary key (campaign_id, number)
);
create unique index campaign_recipients_once on zapline.campaign_recipients (campaign_id, recipient)
    where state <> 'skipped';
create index campaign_recipients_pending on zapline.campaign_recipients (campaign_id, number) where state = 'pending';

-- Where a recipient stands, from its own state, the work on its message and its delivery.
create function zapline.recipient_state(recipient text, work text, delivery zapline.delivery) returns text
    language sql immutable
return case when recipient <> 'enqueued' then recipient
            when work = 'leased' then 'sending'
            when work in ('dead', 'expired') then 'failed'
            when work <> 'settled' then work
            when delivery = 'failed' then 'undelivered'
            when delivery = 'delivered' then 'delivered'
            when delivery in ('read', 'played') then 'read'
            else 'sent' end;

create table zapline.outbox (
    message_id      uuid primary key references zapline.messages,
    unit_id         uuid not null references zapline.units,
    conversation_id uuid not null references zapline.conversations,
    -- The order in which it was asked for.
    seq             bigint generated always as identity,
    lane            text not null check (lane in ('reply', 'campaign')),
    state           text not null default 'queued'
                    check (state in ('queued', 'leased', 'uncertain', 'settled', 'dead', 'cancelled', 'expired')),
    -- Canonical identity, as zapline.domain.phones.
    recipient       text not null,
    -- What Evolution is given as number: digits or a JID.
    address         text not null,
    fingerprint     text not null,
    content         jsonb not null,
    -- SHA-256 of what was asked, which tells a repetition from another request under the same client id.
    request_digest  bytea not null,
    due_at          timestamptz not null,
    expires_at      timestamptz,
    -- Failures that are the message's own fault.
    tries           smallint not null default 0,
    resends         smallint not null default 0,
    fence           integer not null default 0,
    -- The process that holds the lease.
    leased_by       uuid,
    lease_until     timestamptz,
    failure         text,
    failure_detail  text,
    -- Uncertain: when Evolution's store is looked at again. Null: it waits for a person.
    look_at         timestamptz,
    looks           smallint not null default 0,
    settled_at      timestamptz,
    ended_at        timestamptz,
    stalled_at      timestamptz,
    -- Evolution has shown a second delivery of it.
    twice           boolean not null default false,
    campaign_id     uuid references zapline.campaigns,
    created_at      timestamptz not null default now()
);
create index outbox_due on zapline.outbox (unit_id, lane desc, seq) where state = 'queued';
create index outbox_waiting on zapline.outbox (unit_id, recipient, lane, campaign_id, seq)
    where state in ('queued', 'leased');
create index outbox_at_work on zapline.outbox (state, unit_id) where state in ('queued', 'leased', 'uncertain');
create index outbox_by_campaign on zapline.outbox (campaign_id, state) where campaign_id is not null;
create index outbox_by_unit on zapline.outbox (unit_id, state, seq);
create index outbox_dead on zapline.outbox (unit_id, ended_at desc) where state = 'dead';
create index outbox_stalled on zapline.outbox (stalled_at) where stalled_at is not null;

-- One row a call. It owns the id that Evolution gave the message; a message may have been called several times.
create table zapline.attempts (
    id              uuid primary key,
    message_id      uuid not null references zapline.outbox,
    unit_id         uuid not null references zapline.units,
    conversation_id uuid not null references zapline.conversations,
    provider        text not null,
    fence           integer not null,
    lane            text not null,
    recipient       text not null,
    fingerprint     text not null,
    started_at      timestamptz not null,
    ended_at        timestamptz,
    outcome         text not null default 'calling'
                    check (outcome in ('calling', 'sent', 'not_sent', 'rejected', 'uncertain')),
    failure         text,
    detail          text,
    external_id     text,
    -- How it came to its id: the reply, the echo, Evolution's store.
    matched_by      text check (matched_by in ('reply', 'echo', 'store')),
    -- The message already had another id: reports about this one are led to it.
    alias           boolean not null default false
);
create unique index attempts_external on zapline.attempts (unit_id, provider, external_id)
    where external_id is not null;
create index attempts_alias on zapline.attempts (unit_id, provider, external_id) where alias;
create index attempts_open on zapline.attempts (unit_id, fingerprint)
    where external_id is null and outcome in ('calling', 'uncertain');
create index attempts_under_way on zapline.attempts (unit_id) where outcome = 'calling' and external_id is null;
create index attempts_by_time on zapline.attempts (unit_id, started_at);
create index attempts_by_message on zapline.attempts (message_id, started_at);

-- Echoes that may belong to a call that is still under way: decided when it has ended.
create table zapline.sightings (
    unit_id         uuid not null references zapline.units,
    provider        text not null,
    external_id     text not null,
    conversation_id uuid not null references zapline.conversations,
    fingerprint     text not null,
    sent_at         timestamptz not null,
    received_at     timestamptz not null,
    backfilled      boolean not null,
    -- The message's row as the recorder would have stored it.
    row             jsonb not null,
    primary key (unit_id, provider, external_id)
);
create index sightings_by_content on zapline.sightings (unit_id, fingerprint);

-- Who wants no campaigns. A LID without a known phone is shown to a person.
create table zapline.suppressions (
    unit_id     uuid not null references zapline.units,
    canonical   text not null,
    reason      text not null check (reason in ('opt_out', 'manual')),
    word        text,
    external_id text,
    created_at  timestamptz not null default now(),
    primary key (unit_id, canonical)
);

-- Under which names somebody is suppressed: his own, and the LIDs that turned out to be his. No row: he is not.
-- Plain enough for the planner to take it apart, so that asking it for thousands costs one join.
create function zapline.opted_out(unit uuid, who text) returns setof text language sql stable
begin atomic
    select s.canonical from zapline.suppressions s where s.unit_id = unit and s.canonical = who
    union all
    select s.canonical
      from zapline.contacts k
      join zapline.conversations c on c.unit_id = k.unit_id and c.contact_id = k.id
      join zapline.conversations p on p.merged_into = c.id
      join zapline.contacts l on l.id = p.contact_id
      join zapline.suppressions s on s.unit_id = l.unit_id and s.canonical = l.canonical
     where k.unit_id = unit and k.canonical = who;
end;

-- Files to be sent, until their messages have ended.
create table zapline.uploads (
    id         uuid primary key,
    unit_id    uuid not null references zapline.units,
    mimetype   text not null,
    file_name  text,
    size       bigint not null,
    sha256     bytea not null,
    bytes      bytea not null,
    created_at timestamptz not null default now()
);
create index uploads_by_age on zapline.uploads (created_at);

alter table zapline.unit_whatsapp_connections
    -- The end of the last window that was read to its last page. Live traffic never moves it.
    add column reconciled_until timestamptz,
    add column reconciled_at timestamptz,
    -- From when on webhooks are known to be missing. Null: no known gap.
    add column gap_since timestamptz,
    -- Whether Evolution keeps messages at all: null until it was seen.
    add column store_kept boolean,
    add column first_connected_at timestamptz;

alter table zapline.conversations add column read_up_to bigint not null default 0;
create index conversations_by_contact on zapline.conversations (contact_id);
create index messages_unconfirmed on zapline.messages (sent_at)
    where client_message_id is not null and delivery = 'sent';

do $$
declare
    name text;
begin
    foreach name in array array['unit_paces', 'campaigns', 'campaign_recipients', 'outbox', 'attempts', 'sightings',
        'suppressions', 'uploads']
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
grant usage on all sequences in schema zapline to zapline_engine;
