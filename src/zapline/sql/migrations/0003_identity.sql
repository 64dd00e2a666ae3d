-- Who may come in with which token, and who has changed what.

alter table zapline.access_tokens drop constraint access_tokens_pkey;
alter table zapline.access_tokens
    add column id uuid not null default gen_random_uuid() primary key,
    add constraint access_tokens_digest unique (digest),
    -- A session is the console's cookie, the others are bearer tokens: an administrator's, or a unit's.
    add column kind text not null default 'admin',
    add column unit_id uuid references zapline.units,
    add column scopes text[] not null default '{}',
    add column created_by text not null default '',
    -- Seconds without use after which the token ends. Null: it may rest as long as it likes.
    add column idle_seconds integer,
    alter column admin_id drop not null,
    alter column expires_at drop not null,
    add constraint access_tokens_kind check (kind in ('session', 'admin', 'unit')),
    add constraint access_tokens_of_one check (
        (kind = 'unit' and unit_id is not null and admin_id is null and cardinality(scopes) > 0)
        or (kind <> 'unit' and unit_id is null and admin_id is not null and cardinality(scopes) = 0)),
    add constraint access_tokens_scopes check (scopes <@ array['read', 'send', 'control']),
    add constraint access_tokens_end check (kind = 'unit' or expires_at is not null),
    add constraint access_tokens_session_idle check (kind <> 'session' or idle_seconds is not null),
    add constraint access_tokens_idle check (idle_seconds > 0);
alter table zapline.access_tokens alter column kind drop default, alter column created_by drop default;
create index access_tokens_of_unit on zapline.access_tokens (unit_id, created_at) where unit_id is not null;
create index access_tokens_of_admin on zapline.access_tokens (admin_id, created_at) where admin_id is not null;

-- Every change: written before it is tried, completed after. No reference to units: somebody may have asked for
-- the change of one that is not there.
create table zapline.audit_log (
    id         bigint generated always as identity primary key,
    at         timestamptz not null default now(),
    actor_kind text not null check (actor_kind in ('admin', 'unit_token', 'command', 'system')),
    -- An administrator's e-mail, a token's label, or a user of the operating system.
    actor      text not null,
    actor_id   uuid,
    -- The address or the machine it came from.
    source     text,
    unit_id    uuid,
    action     text not null,
    target     text,
    detail     jsonb not null default '{}',
    -- The HTTP status. Null: under way, or the process died over it.
    outcome    smallint,
    ended_at   timestamptz,
    check ((outcome is null) = (ended_at is null))
);
create index audit_log_of_unit on zapline.audit_log (unit_id, id desc);

-- What is complete stays as it is.
create function zapline.keep_audit() returns trigger language plpgsql as $$
begin
    raise exception 'a completed line of the audit log is not changed' using errcode = 'restrict_violation';
end
$$;
create trigger keep_audit before update on zapline.audit_log
    for each row when (old.outcome is not null) execute function zapline.keep_audit();

-- Who asked by command line.
alter table zapline.control_requests add column asked_by text not null default '', add column asked_from text;

-- People's secrets and requests are the engine's alone.
do $$
declare
    name text;
begin
    foreach name in array array['admins', 'access_tokens', 'control_requests', 'audit_log']
    loop
        execute format('alter table zapline.%I enable row level security', name);
        execute format('alter table zapline.%I force row level security', name);
        execute format('create policy engine on zapline.%I to zapline_engine using (true) with check (true)', name);
        execute format('revoke all on zapline.%I from zapline_api', name);
    end loop;
end
$$;
create policy api on zapline.audit_log for select to zapline_api using (
    unit_id = nullif(current_setting('zapline.unit', true), '')::uuid
    or current_setting('zapline.scope', true) = 'admin');
grant select on zapline.audit_log to zapline_api;
grant select, insert, update (detail, outcome, ended_at) on zapline.audit_log to zapline_engine;
revoke delete on zapline.admins from zapline_engine;
