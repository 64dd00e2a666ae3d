-- Files of messages that units keep: what a unit wants to keep, what is kept of each message, and what is to be removed.

create table zapline.file_policies (
    unit_id     uuid primary key references zapline.units,
    -- Kinds of messages whose files are kept; none: no further ones are.
    kinds       text[] not null,
    -- Larger files are left out; and so are those that go beyond the quota, until there is room.
    max_bytes   bigint not null check (max_bytes > 0),
    quota_bytes bigint not null check (quota_bytes > 0),
    -- For how long they are kept; null: as long as their messages.
    days        integer check (days > 0),
    changed_at  timestamptz not null default now()
);

create table zapline.kept_files (
    message_id uuid primary key references zapline.messages on delete cascade,
    unit_id    uuid not null references zapline.units,
    -- Under which it lies on disk. It tells nothing of the message.
    name       uuid not null default gen_random_uuid(),
    -- Of a kept file: under which a better copy will lie that is to be fetched; until then the earlier one stays.
    better     uuid,
    state      text not null default 'wanted' check (state in ('wanted', 'kept', 'gone', 'left_out')),
    -- Why it is gone or left out, or was not to be had at the last try.
    reason     text,
    asked_at   timestamptz not null default now(),
    due_at     timestamptz not null default now(),
    tries      integer not null default 0,
    -- Of the tries, those to which it was said that the file is nowhere.
    denials    integer not null default 0,
    size       bigint,
    sha256     bytea,
    mimetype   text,
    file_name  text,
    kept_at    timestamptz,
    check (better is null or state = 'kept'),
    check (state <> 'kept' or (size is not null and sha256 is not null and kept_at is not null))
);
create index kept_files_wanted on zapline.kept_files (unit_id, due_at, message_id)
    where state = 'wanted' or better is not null;
create index kept_files_by_age on zapline.kept_files (unit_id, kept_at, message_id) include (size) where state = 'kept';
create index kept_files_by_unit on zapline.kept_files (unit_id, state);

-- What nothing refers to any more, until it is gone from disk.
create table zapline.file_removals (
    name       uuid primary key,
    unit_id    uuid not null references zapline.units,
    asked_at   timestamptz not null default now()
);
create index file_removals_by_age on zapline.file_removals (asked_at, name);
create index file_removals_by_unit on zapline.file_removals (unit_id);

do $$
declare
    name text;
begin
    foreach name in array array['file_policies', 'kept_files', 'file_removals']
    loop
        execute format('alter table zapline.%I enable row level security', name);
        execute format('alter table zapline.%I force row level security', name);
        execute format('create policy engine on zapline.%I to zapline_engine using (true) with check (true)', name);
        execute format($f$create policy api on zapline.%I to zapline_api using (
            unit_id = (select nullif(current_setting('zapline.unit', true), '')::uuid)
            or (select current_setting('zapline.scope', true)) = 'admin')$f$, name);
        execute format('grant select, insert, update, delete on zapline.%I to zapline_engine', name);
        execute format('grant select on zapline.%I to zapline_api', name);
    end loop;
end
$$;

-- Files that come with messages are wanted, or left out for their size. What may be looked at once is kept by nobody, and
-- what was sent through Zapline is at hand already.
create function zapline.larger_than(media jsonb, most bigint) returns boolean language sql immutable
return case when jsonb_typeof(media -> 'size') = 'number' then (media ->> 'size')::numeric > most else false end;

create function zapline.want_files() returns trigger language plpgsql as $$
begin
    if exists (select from zapline.file_policies) then
        insert into zapline.kept_files (message_id, unit_id, state, reason)
        select f.id, f.unit_id, case when zapline.larger_than(f.media, p.max_bytes) then 'left_out' else 'wanted' end,
               case when zapline.larger_than(f.media, p.max_bytes) then 'too_large' end
          from fresh f
          join zapline.file_policies p on p.unit_id = f.unit_id
         where f.external_id is not null and f.client_message_id is null and not f.view_once and f.deleted_at is null
           and f.media is not null and f.kind = any(p.kinds)
         order by f.id
            on conflict (message_id) do nothing;
    end if;
    return null;
end
$$;
create trigger want_files after insert on zapline.messages
    referencing new table as fresh for each statement execute function zapline.want_files();

-- A message whose content came later, or of which there is a better copy now; and one that was deleted for everyone. What
-- is kept stays until the better copy is there, and what was kept long enough is not fetched again.
create function zapline.want_changed_file() returns trigger language plpgsql as $$
begin
    if new.deleted_at is not null or new.view_once then
        delete from zapline.kept_files where message_id = new.id;
        return null;
    end if;
    insert into zapline.kept_files as k (message_id, unit_id, state, reason)
    select new.id, new.unit_id, case when zapline.larger_than(new.media, p.max_bytes) then 'left_out' else 'wanted' end,
           case when zapline.larger_than(new.media, p.max_bytes) then 'too_large' end
      from zapline.file_policies p
     where p.unit_id = new.unit_id and new.external_id is not null and new.client_message_id is null
       and new.media is not null and new.kind = any(p.kinds)
        on conflict (message_id) do update
       set state = case when k.state = 'kept' then 'kept' else excluded.state end,
           better = case when k.state = 'kept' and excluded.state = 'wanted' then gen_random_uuid() end,
           name = case when k.state = 'kept' then k.name else gen_random_uuid() end,
           reason = case when k.state = 'kept' then null else excluded.reason end,
           asked_at = now(), due_at = now(), tries = 0, denials = 0
     where k.state <> 'left_out' or k.reason is distinct from 'expired';
    return null;
end
$$;
create trigger want_changed_file after update on zapline.messages
    for each row when (new.deleted_at is not null and old.deleted_at is null
                       or new.view_once and not old.view_once
                       or new.deleted_at is null and new.media is not null
                          and (new.kind_rank > old.kind_rank
                               or new.media ->> 'copyId' is distinct from old.media ->> 'copyId'))
    execute function zapline.want_changed_file();

-- Whatever becomes of a row, its files are removed: with its message, by age, by a person's erasure, for a better copy.
create function zapline.remove_file() returns trigger language plpgsql as $$
begin
    insert into zapline.file_removals (name, unit_id)
    select n.name, old.unit_id
      from unnest(array[old.name, old.better]) as n(name)
     where n.name is not null
       and (tg_op = 'DELETE' or new.state in ('gone', 'left_out')
            or n.name is distinct from new.name and n.name is distinct from new.better)
        on conflict (name) do nothing;
    return null;
end
$$;
create trigger remove_file after delete on zapline.kept_files
    for each row when (old.state in ('wanted', 'kept')) execute function zapline.remove_file();
create trigger remove_replaced_file after update on zapline.kept_files
    for each row when (old.name <> new.name or old.better is distinct from new.better
                       or old.state in ('wanted', 'kept') and new.state in ('gone', 'left_out'))
    execute function zapline.remove_file();
