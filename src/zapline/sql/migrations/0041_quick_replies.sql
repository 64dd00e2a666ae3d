-- Texts that the people of a unit answer with again and again, each under a short name.
create table zapline.quick_replies (
    unit_id    uuid not null references zapline.units,
    -- What is typed behind the "/": small letters, digits, - and _. Compared by their bytes, so that pages go on in one
    -- order on every server.
    shortcut   text collate "C" not null,
    text       text not null,
    changed_at timestamptz not null default now(),
    primary key (unit_id, shortcut)
);

alter table zapline.quick_replies enable row level security;
alter table zapline.quick_replies force row level security;
create policy engine on zapline.quick_replies to zapline_engine using (true) with check (true);
create policy api on zapline.quick_replies to zapline_api using (
    unit_id = (select nullif(current_setting('zapline.unit', true), '')::uuid)
    or (select current_setting('zapline.scope', true)) = 'admin');
grant select, insert, update, delete on zapline.quick_replies to zapline_engine;
grant select on zapline.quick_replies to zapline_api;
