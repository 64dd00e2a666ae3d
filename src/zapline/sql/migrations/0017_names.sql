-- How people and groups are called: by the newest name, not the greatest; groups by their subject; people also by their
-- username.

-- All names of the time `name_at`, each with the UTC second in which it was first reported: of names of one time that
-- counts which was reported last, and a report that is repeated changes nothing. Null: `name` alone, long ago.
alter table zapline.contacts add column name_reports jsonb;
-- Without its @.
alter table zapline.contacts add column username text;
alter table zapline.contacts add column username_at timestamptz;
-- Of a group: when Evolution may be asked for its subject again, and how often it was asked in vain.
alter table zapline.contacts add column subject_due_at timestamptz not null default '-infinity';
alter table zapline.contacts add column subject_tries smallint not null default 0;
-- A name's time changes with each message: room for the new row beside the old one.
alter table zapline.contacts set (fillfactor = 80);
create index contacts_groups on zapline.contacts (unit_id) where kind = 'group';
create index contacts_nameless_groups on zapline.contacts (subject_due_at) where kind = 'group' and name is null;

-- The names of both, each with its first report.
create function zapline.merge_names(known jsonb, told jsonb) returns jsonb language sql immutable as $$
    select jsonb_object_agg(x.name, x.at)
      from (select r.key as name, min(r.value::float8) as at
              from (select * from jsonb_each_text(known) union all select * from jsonb_each_text(told)) r
             group by r.key) x
$$;

-- Of names of one time that which was reported last.
create function zapline.last_name(reports jsonb) returns text language sql immutable as $$
    select r.key from jsonb_each_text(reports) r order by r.value::float8 desc, r.key collate "C" desc limit 1
$$;

-- The reports of a contact's names after others were told: those of the newer time, or of both where they are of one.
create function zapline.newest_names(at timestamptz, told jsonb, known_at timestamptz, known jsonb) returns jsonb
    language sql immutable
return case when told is null or coalesce(at, '-infinity') < coalesce(known_at, '-infinity') then known
            when known is null or coalesce(at, '-infinity') > coalesce(known_at, '-infinity') then told
            when known @> told then known
            else zapline.merge_names(known, told) end;

-- The reports of a contact's names; a name from before there were reports is older than all.
create function zapline.known_names(name text, reports jsonb) returns jsonb language sql immutable
return coalesce(reports, case when name is not null then jsonb_build_object(name, 0) end);

-- Until now a group was called as whoever wrote last: its subject is asked for.
update zapline.contacts set name = null, name_at = null where kind = 'group' and name is not null;

-- How the line's own people are called in their messages: older servers report it as the name of whoever they wrote to.
create table zapline.own_names (
    unit_id uuid not null references zapline.units,
    name    text not null,
    primary key (unit_id, name)
);

do $$
declare
    name text;
begin
    foreach name in array array['own_names']
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
